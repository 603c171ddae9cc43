"""How well recorded actions can be read off a generated video; see `cosmos_ops/evaluation/inverse_dynamics`."""

from cosmos_ops.evaluation.metrics.base import Column, ServedMetric, register

register(
    ServedMetric(
        name="action_consistency",
        version="1",
        columns=(
            Column(
                "action_consistency",
                "lower",
                "sd",
                "Error of the actions that an inverse dynamics model reads off the video, in standard deviations of the recorded ones (a guess makes about 1).",
                3,
                0.05,
                True,
            ),
        ),
        server="inverse_dynamics",
        reason="needs the inverse dynamics model, which is trained on clips with recorded actions",
    )
)
