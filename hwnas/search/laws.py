"""Laws of what a profile's rows hold beside latency and memory: energy of a run, and size of the file that is run.

The law is that of the latency: a sum over blocks (`hwnas.latency.law`). It suits both. A file is its weights and its
graph, block by block, and energy is power times the time of each block. What the fit says of its own error, from
networks left out of it, counts: a law that is off by too much is refused.
"""

from __future__ import annotations

from typing import Any

from hwnas.errors import MissingProfileError, TableError
from hwnas.latency.keys import model_key, network_shape
from hwnas.latency.law import MIN_ROWS, Law, fit_law
from hwnas.latency.records import Setting
from hwnas.latency.table import LatencyTable
from hwnas.models import get_family

MOST_ERROR = 0.25
"""Root mean square of a law's relative errors on left-out networks from which it is refused."""

_QUANTITIES = {
    "energy": (
        "energy_joules",
        "energy of a run",
        "the device or its runtime does not say it: choose another --objective, or a device that counts its energy",
    ),
    "engine-size": (
        "file_bytes",
        "size of the file that is run",
        "rows of an older hwnas lack it: delete them with `hwnas table prune` and profile again",
    ),
}


def load_law(config: Any, setting: Setting, table: LatencyTable, name: str) -> Law:
    """The law of an objective in a setting, fitted to the rows of the newest profile; measures nothing.

    Args:
        config: Hugging Face configuration of the super-network.
        setting: The setting of the profile.
        table: The latency table.
        name: `"energy"` (joules per run) or `"engine-size"` (bytes).

    Raises:
        TableError: There is no profile, too few of its rows hold the value, or the law is off by more than
            `MOST_ERROR` on networks that were left out of the fit.
    """
    column, what, remedy = _QUANTITIES[name]
    fit = table.latest_fit(setting, model_key(config))
    if fit is None:
        raise MissingProfileError(
            f"{table.name} holds no finished profile of this model in this setting", setting.options()
        )
    rows = {network: row for network, _, row in table.rows(setting)}
    values = [(network_shape(key), getattr(rows[key], column)) for key in fit.design if key in rows]
    known = [(shape, float(value)) for shape, value in values if value]
    where = f"{setting.target}, {setting.runtime} {setting.precision}"
    if len(known) < MIN_ROWS:
        raise TableError(
            f"{table.name} holds the {what} of {len(known)} of the {len(fit.design)} networks that it was profiled on "
            f"({where}), fewer than the {MIN_ROWS} of a fit; {remedy}."
        )
    law = fit_law(
        [shape for shape, _ in known],
        [value for _, value in known],
        dimensions=get_family(config).dimensions(config),
    )
    if law.error > MOST_ERROR:
        raise TableError(
            f"the {what} in {table.name} ({where}) follows no law: a fit on {len(known)} networks is off by "
            f"{law.error:.0%} on those left out, more than {MOST_ERROR:.0%}; profile more --networks, or choose "
            "another --objective."
        )
    return law
