"""What every test process needs."""

import contextlib

# sila2 can only be imported before anything that imports protobuf, such as mlflow: see oracles/lab/sila2.py.
with contextlib.suppress(ImportError):
    import sila2.client  # noqa: F401
