"""The sentences that existing code compares with. Changing one is a breaking change."""

from __future__ import annotations

UNPROVIDED_VALUE = "mona_unprovided_value"

COULD_NOT_AUTHENTICATE = "Mona's client could not authenticate. errors: "
NOT_AUTHENTICATED = "Mona's client is not authenticated"
COULD_NOT_REFRESH = "Could not refresh token: "
NO_AUTH_SERVER = "Could not connect to authentication server"
NO_AUTH_SERVER_RETRIES = "Number of retries: {}"

SOME_FAILED = "Some messages didn't pass validation: "
NO_REST_API = "Cannot connect to rest-api"
BATCH_FAILED = "Failed to send the batch to Mona's servers"
NOT_ITERABLE = "export_batch must get an iterable of MonaSingleMessage."
WRONG_ITEM = "Messages exported to Mona must be MonaSingleMessage."
WRONG_ITEM_SINGLE = "Messages to export must be of MonaSingleMessage type."
NOT_SERIALIZABLE = "All fields in MonaSingleMessage must be JSON serializable."

NO_SERVICE_ANSWER = "Could not get server response for the wanted service."
NO_APP_SERVER = "Cannot connect to app-server."
CONFIG_NOT_A_DICT = "Config must be a dict."
EMPTY_HISTORY = "Retrieve history is empty."
GET_CONFIG_FAILED = "Could not get server response with the current config."
UPLOAD_CONFIG_FAILED = "Could not upload the new configuration, please check it is valid."
AUTHOR_NEEDED = "Author must be provided when using un-authenticated mode."

NEEDS_USER_ID = "Mona Client is initiated with an auth mode that requires user_id."
NO_AUTH_HINT = " (this client sends without authentication; set AUTH_MODE or should_use_authentication to change that)"
CLOSED = "the client is closed"
QUEUE_FULL = "the queue is full"
