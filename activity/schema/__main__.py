"""Prints the schema."""

import sys

from activity.schema import generate

sys.stdout.write(generate())
