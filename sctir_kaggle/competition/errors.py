"""Why a push gateway ended a run: what the notebook's author sees. There is no submission file after any of these."""

from __future__ import annotations


class GatewayError(RuntimeError):
    """The gateway ended the run without a submission. `kaggle` is what `kaggle_evaluation` calls it."""

    kaggle = "UNSPECIFIED"


class ServerNeverStarted(GatewayError):
    """The notebook's server was not up in time: something slow stands before `serve()`."""

    kaggle = "SERVER_NEVER_STARTED"


class ServerLost(GatewayError):
    """The connection broke: the notebook's process ended, or did not answer the keep-alive."""

    kaggle = "SERVER_CONNECTION_FAILED"


class PredictRaised(GatewayError):
    """`predict` raised, or returned what cannot be sent (an integer beyond 64 bits, say). The text is its own."""

    kaggle = "SERVER_RAISED_EXCEPTION"


class PredictTimedOut(GatewayError):
    """`predict` did not return within the time that one answer has. Until 0.9.0 it is SERVER_CONNECTION_FAILED."""

    kaggle = "GRPC_DEADLINE_EXCEEDED"


class ErrorHidden(GatewayError):
    """`predict` raised with a text that gRPC refuses as metadata, over 8192 bytes: the author never reads it.

    The bytes are those on the wire, where each byte of UTF-8 that is not plain ASCII takes three.
    """

    kaggle = "SERVER_CONNECTION_FAILED"


class InvalidSubmission(GatewayError):
    """`predict` returned something that is not the answer of this one problem."""

    kaggle = "INVALID_SUBMISSION"


class GatewayFailed(GatewayError):
    """The gateway itself failed: the problems cannot be read, or a column cannot be made of the answers."""

    kaggle = "GATEWAY_RAISED_EXCEPTION"


ERRORS: dict[str, type[GatewayError]] = {error.__name__: error for error in GatewayError.__subclasses__()}
"""By name, as the gateway's process reports them."""
