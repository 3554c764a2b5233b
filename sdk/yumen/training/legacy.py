"""Apps of Flower's older kind, whose strategies come from `flwr.server.strategy`. Loads Flower."""

from __future__ import annotations

from typing import Any, cast

from flwr.common import parameters_to_ndarrays
from flwr.server import Server, SimpleClientManager
from flwr.serverapp import ServerApp
from yumen_core.training.records import Values

from yumen.training.course import Course
from yumen.training.strategies import check_strategy


class LegacyApp:
    """An app of the older kind: its strategy is checked when the app gives it, and its server kept,
    since only there are the final parameters."""

    def __init__(self, app: ServerApp, course: Course) -> None:
        self._course = course
        self._server: Server | None = None
        self.strategy = ""
        if app._server_fn is None:
            self._take(app)
            return
        server_fn = app._server_fn

        def taken(context: Any) -> Any:
            components = server_fn(context)
            self._take_components(components)
            return components

        app._server_fn = taken

    def arrays(self) -> dict[str, Values] | None:
        if self._server is None or not self._server.parameters.tensors:
            return None
        tensors = parameters_to_ndarrays(self._server.parameters)
        return {str(number): values for number, values in enumerate(tensors)}

    def _take(self, app: ServerApp) -> None:
        server = self._made(app._server, app._strategy, app._client_manager, app._config)
        app._server, app._strategy, app._client_manager = server, None, None

    def _take_components(self, components: Any) -> None:
        server = self._made(
            components.server, components.strategy, components.client_manager, components.config
        )
        components.server, components.strategy, components.client_manager = server, None, None

    def _made(self, server: Any, strategy: Any, client_manager: Any, config: Any) -> Server:
        if server is None:
            server = Server(
                client_manager=client_manager or SimpleClientManager(), strategy=strategy
            )
        check_strategy(server.strategy, nodes=len(self._course.participants))
        self._server = server
        self.strategy = type(server.strategy).__name__
        self._course.expect(getattr(config, "num_rounds", None))
        return cast(Server, server)
