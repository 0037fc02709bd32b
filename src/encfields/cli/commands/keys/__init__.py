"""``encfields keys``: make, rotate, retire, list, rewrap, destroy and export branch keys.

=============  ======================================================
``selection``  which keys are meant
``branch``     ``create-table``, ``create``, ``rotate``, ``list``
``beacon``     ``rotate-beacon``, ``retire-beacon``, ``list-beacons``
``move``       ``rewrap``, ``export``, ``bring-over``
``retire``     ``count-values``, ``retire``
``destroy``    ``destroy``
=============  ======================================================
"""

from __future__ import annotations

import argparse
from typing import Any

from encfields.cli.commands.keys import beacon, branch, destroy, move, retire, selection
from encfields.cli.parsing import add_command
from encfields.cli.settings import add_common_options


def register(subparsers: Any) -> None:
    """Add the subcommand with its own verbs."""
    what = "create, rotate, retire, list, rewrap, destroy and export branch keys"
    keys = subparsers.add_parser("keys", help=what)
    verbs = keys.add_subparsers(metavar="VERB", required=True)
    _add(verbs, "create-table", branch.CREATE_TABLE, branch.create_table)
    create = _add(verbs, "create", branch.CREATE, branch.create)
    selection.add_options(create, like=False, help_="for instance default, or tenant/42")
    create.add_argument(
        "--create-table", action="store_true", help="make the key table if it is missing"
    )
    branch.add_rotate_options(_add(verbs, "rotate", branch.ROTATE, branch.rotate))
    beacon.add_rotate_options(_add(verbs, "rotate-beacon", beacon.ROTATE, beacon.rotate))
    beacon.add_retire_options(_add(verbs, "retire-beacon", beacon.RETIRE, beacon.retire))
    beacon.add_list_options(_add(verbs, "list-beacons", beacon.LIST, beacon.list_beacons))
    move.add_rewrap_options(_add(verbs, "rewrap", move.REWRAP, move.rewrap))
    destroy.add_options(_add(verbs, "destroy", destroy.WHAT, destroy.run))
    retire.add_count_options(_add(verbs, "count-values", retire.COUNT, retire.count_values))
    retire.add_retire_options(_add(verbs, "retire", retire.RETIRE, retire.retire))
    _add(verbs, "bring-over", move.BRING_OVER, move.bring_over)
    branch.add_list_options(_add(verbs, "list", branch.LIST, branch.list_versions))
    move.add_export_options(_add(verbs, "export", move.EXPORT, move.export))


def _add(verbs: Any, name: str, what: str, run: Any) -> argparse.ArgumentParser:
    description = what[0].upper() + what[1:] + "."
    parser = add_command(verbs, name, summary=what.partition(";")[0], description=description)
    add_common_options(parser)
    parser.set_defaults(run=run)
    return parser
