"""The delivery of mails, which the tests replace."""

from __future__ import annotations

import smtplib
from email.message import EmailMessage


def deliver(address: str, text: str) -> None:
    """Send a mail.

    Raises:
        OSError: The mail server cannot be reached, or refuses the mail.
    """
    message = EmailMessage()
    message["To"] = address
    message["Subject"] = "Your invoice"
    message.set_content(text)
    with smtplib.SMTP("mail.invalid") as server:
        server.send_message(message)
