"""Webhooks, where they are set; without them nothing is posted."""

from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from cosmos_ops.registry.notices import Webhook
    from cosmos_ops.registry.tracking import Tracking


class NoticesResource(dg.ConfigurableResource):
    """Where promotions and alerts are told. A notice that cannot be delivered never undoes or stops the work it is about."""

    promotion_url: str = ""
    alert_url: str = ""
    secret: str = ""

    def promotion(self) -> "Webhook | None":
        return self._webhook(self.promotion_url)

    def alert(self) -> "Webhook | None":
        return self._webhook(self.alert_url)

    def tell_moves(self, tracking: "Tracking", model: str) -> str:
        """Post moves of the champion alias that were not told yet; what came of it, in one line."""
        from cosmos_ops.errors import UserError, WorkFailed
        from cosmos_ops.registry.notices import tell_moves

        try:
            webhook = self.promotion()
            return f"{tell_moves(tracking, model, webhook)} moves of the champion told" if webhook else "no webhook is set"
        except (UserError, WorkFailed) as error:
            return f"{error}; the next decision or promotion tells it again"

    def raise_alert(self, event: str, text: str, facts: dict[str, Any]) -> str:
        """Post an alert; what came of it, in one line."""
        from cosmos_ops.errors import UserError, WorkFailed
        from cosmos_ops.registry.notices import post

        try:
            webhook = self.alert()
            if webhook is None:
                return "no webhook is set"
            post(webhook, event, text, facts)
        except (UserError, WorkFailed) as error:
            return str(error)
        return "delivered"

    def _webhook(self, url: str) -> "Webhook | None":
        from cosmos_ops.registry.notices import Webhook

        return Webhook(url, self.secret or None) if url else None
