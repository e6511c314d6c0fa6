"""Errors that the tasks of the shop raise, with the tracebacks of its code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cadasta.workertoolbox.results._backend.fingerprint import Fingerprint

#: The first frame of each traceback.
_TRACE = (
    '  File "/usr/lib/python3.12/site-packages/celery/app/trace.py", line 479, in '
    "trace_task\n    R = retval = fun(*args, **kwargs)\n"
)


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of a task.

    Attributes:
        type: The class of the exception, with its module.
        message: Its message.
        frames: Where it was raised: for each call the file, the line, the function and
            the code. Files outside of `/srv` are libraries.
    """

    type: str
    message: str
    frames: tuple[tuple[str, int, str, str], ...]

    def as_result(self) -> dict[str, Any]:
        """Return the error as Celery stores it."""
        module, _, name = self.type.rpartition(".")
        # Python shows the argument of a KeyError in quotes.
        message = self.message.strip("'") if name == "KeyError" else self.message
        return {
            "exc_type": name,
            "exc_message": [message],
            "exc_module": module or "builtins",
        }

    def traceback(self) -> str:
        """Return the traceback as Python prints it."""
        lines = "".join(
            f'  File "{file}", line {line}, in {function}\n    {code}\n'
            for file, line, function, code in self.frames
        )
        head = f"Traceback (most recent call last):\n{_TRACE}{lines}"
        return f"{head}{self.type.removeprefix('builtins.')}: {self.message}\n"

    def fingerprint(self, task: str) -> Fingerprint:
        """Return the fingerprint that the backend would have computed."""
        own = tuple(
            f"{file[len('/srv/') : -len('.py')].replace('/', '.')}.{function}"
            for file, _, function, _ in reversed(self.frames)
            if file.startswith("/srv/")
        )
        return Fingerprint(task, (self.type,), (own,))


def chord_error(task_id: str, failure: Failure) -> Failure:
    """Return the error of a chord whose header has a failed task."""
    error = f"{failure.type.removeprefix('builtins.')}({failure.message!r})"
    message = f"Dependency {task_id} raised {error}"
    return Failure("celery.exceptions.ChordError", message, ())


_SITE = "/usr/lib/python3.12/site-packages"


def broken_image(file: str) -> Failure:
    """Return the error of an image that cannot be read."""
    return Failure(
        "PIL.UnidentifiedImageError",
        f"cannot identify image file '{file}'",
        (
            ("/srv/shop/images.py", 41, "resize", "picture = open_picture(file)"),
            ("/srv/shop/pictures.py", 18, "open_picture", "return Image.open(file)"),
            (f"{_SITE}/PIL/Image.py", 3498, "open", "raise UnidentifiedImage…"),
        ),
    )


def no_mail_server() -> Failure:
    """Return the error of a mail server that does not answer."""
    return Failure(
        "smtplib.SMTPServerDisconnected",
        "Connection unexpectedly closed",
        (
            ("/srv/shop/emails.py", 63, "send", "deliver(mail, to=to)"),
            ("/srv/shop/smtp.py", 27, "deliver", "server.sendmail(SENDER, to, text)"),
            ("/usr/lib/python3.12/smtplib.py", 398, "getreply", "raise SMTPServer…"),
        ),
    )


def refused_charge(order: int) -> Failure:
    """Return the error of a payment gateway that is down."""
    return Failure(
        "shop.gateway.GatewayUnavailable",
        f"POST https://pay.example.com/charges answered 503 for order {order}",
        (
            ("/srv/shop/invoices.py", 88, "charge", "receipt = gateway.post(charge)"),
            ("/srv/shop/gateway.py", 52, "post", "raise GatewayUnavailable(answer)"),
        ),
    )


def no_tax_id(customer: int) -> Failure:
    """Return the error of a customer without a tax id."""
    return Failure(
        "builtins.KeyError",
        "'tax_id'",
        (
            ("/srv/shop/invoices.py", 34, "create", "render(order, customer)"),
            ("/srv/shop/documents.py", 112, "render", 'tax_id = customer["tax_id"]'),
        ),
    )


def stale_index(product: int) -> Failure:
    """Return the error of a search index without the latest field."""
    return Failure(
        "elasticsearch.BadRequestError",
        f"mapper [price_per_unit] cannot be changed from type [long] to [double], "
        f"document {product}",
        (
            ("/srv/shop/search.py", 29, "index", "client.index(NAME, document)"),
            (f"{_SITE}/elasticsearch/_sync/client/__init__.py", 2741, "index", "…"),
        ),
    )


def full_disk(folder: str) -> Failure:
    """Return the error of a full disk."""
    return Failure(
        "builtins.OSError",
        f"[Errno 28] No space left on device: '{folder}/part-7.zip'",
        (
            ("/srv/export/export.py", 71, "pack", "pack_chunk(job, chunk, paths)"),
            ("/srv/export/archive.py", 96, "pack_chunk", "archive.write(path, name)"),
        ),
    )


def refused_webhook() -> Failure:
    """Return the error of a customer's web server that refuses a call."""
    return Failure(
        "export_service.msg.WebhookRefused",
        "https://hooks.example.com/exports answered 410 Gone",
        (("/srv/export/msg.py", 58, "webhook", "raise WebhookRefused(url, status)"),),
    )
