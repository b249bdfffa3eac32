"""The code of the public README of 0.0.11, word for word but for its placeholders, as functions of a client's needs.

`my_data`, the credentials and `new_configuration` are what that README leaves to its reader.
"""

# ruff: noqa: I001

from __future__ import annotations

from typing import Any


def quick_start(api_key: Any, secret: Any, my_data: Any) -> Any:
    """The first example: one message, then a batch."""
    from mona_sdk.client import Client, MonaSingleMessage
    import time

    my_mona_client = Client(api_key, secret)
    # One can send a single message to Mona's servers by calling export() with a
    # MonaSingleMessage object:
    succseed_to_export = my_mona_client.export(
        MonaSingleMessage(
            message={"monitoring_information_1": "1", "monitoring_information_2": "2"},
            contextClass="MY_CONTEXT_CLASS_NAME",
            contextId="CONTEXT_INSTANCE_UNIQUE_ID",
            exportTimestamp=time.time(),
        )
    )
    # Another option is to send a batch of messages to Mona using export_batch:
    messages_batch_to_mona = []
    for context_instance in my_data:
        messages_batch_to_mona.append(
            MonaSingleMessage(
                message=context_instance.relevant_monitoring_information,
                contextClass="MY_CONTEXT_CLASS_NAME",
                contextId=context_instance.unique_id,
                exportTimestamp=context_instance.timestamp,
            )
        )
    export_result = my_mona_client.export_batch(messages_batch_to_mona)
    return my_mona_client, succseed_to_export, export_result


def configuration(my_client: Any, new_configuration: Any) -> Any:
    """The second example: upload a configuration, and read it back."""
    upload_result = my_client.upload_config(new_configuration, "My commit message")
    my_current_mona_config = my_client.get_config()
    return upload_result, my_current_mona_config


def logging_example() -> Any:
    """The third: the logger of the package."""
    import logging

    return logging.getLogger("mona-logger")
