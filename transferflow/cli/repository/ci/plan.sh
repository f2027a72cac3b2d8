#!/bin/sh
# Validates every spec, and writes as Markdown what merging this branch would run again.
#   sh ci/plan.sh origin/main > plan.md
set -eu
transferflow validate specs/ >&2
transferflow changes "${1:-origin/main}" specs/
