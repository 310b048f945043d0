"""Leaves the report of each process in the folder LAMEDUCK_TEST_REPORTS, as a program would that ships its logs."""

import json
import logging
import os
from pathlib import Path


class _Files(logging.Handler):
    def emit(self, record):
        report = getattr(record, "lameduck_report", None)
        if report is not None:
            path = Path(os.environ["LAMEDUCK_TEST_REPORTS"]) / f"{os.getpid()}.json"
            path.write_text(json.dumps(report))


def keep():
    logger = logging.getLogger("lameduck")
    logger.setLevel(logging.DEBUG)
    if "LAMEDUCK_TEST_REPORTS" in os.environ:
        logger.addHandler(_Files())
    if "LAMEDUCK_TEST_VERBOSE" in os.environ:
        logger.addHandler(logging.StreamHandler())
