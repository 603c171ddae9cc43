"""MLflow, made when first used: importing it costs seconds and definitions are imported for every step."""

from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from cosmos_ops.registry.tracking import Tracking


class TrackingResource(dg.ConfigurableResource):
    """Where MLflow keeps runs, artifacts and registered models."""

    tracking_uri: str
    artifact_root: str
    ui_url: str = ""
    """Address of MLflow's pages, for links in Dagster; empty when no server is known."""

    def open(self) -> "Tracking":
        from cosmos_ops.registry.tracking import Tracking

        return Tracking(self.tracking_uri, self.artifact_root)

    def run_link(self, experiment_id: str, run_id: str, page: str = "") -> dg.MetadataValue:
        """A link to the run's page (or to a part of it, `artifacts/report.html` for one), or its id where no server is known."""
        if not self.ui_url:
            return dg.MetadataValue.text(run_id)
        return dg.MetadataValue.url(f"{self.ui_url}/#/experiments/{experiment_id}/runs/{run_id}{f'/{page}' if page else ''}")
