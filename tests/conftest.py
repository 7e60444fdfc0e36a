"""What every test process needs."""

import contextlib

# The package sila2 can only be imported before anything that imports protobuf, such as mlflow.
with contextlib.suppress(ImportError):
    import sila2.client  # noqa: F401
