"""The report of ``encfields index plan``."""

from __future__ import annotations

from collections.abc import Sequence

from encfields.cli.output import Cell, Output
from encfields.index.hashing import FULL_BITS
from encfields.index.leakage import Forecast
from encfields.index.transforms import exact
from encfields.planner.plan import FEW_ROWS, FEW_VALUES, Plan, Verdict, judge

_STYLES = {
    Verdict.GOOD: "green",
    Verdict.CAUTION: "yellow",
    Verdict.REFUSED: "red",
    Verdict.UNKNOWN: "dim",
}
_HEADINGS = [
    "bits",
    "leakage",
    "extra rows",
    "of the rarest",
    "values behind a hash",
    "values alone",
    "rows named",
]
_OUTCOMES = ("refused", "accepted", "unknown", "caution", "good")
"""The worst first."""


def print_plans(plans: Sequence[Plan], output: Output) -> None:
    """Write the plans, as one document or as tables."""
    if output.as_json:
        verdict = min((outcome(plan) for plan in plans), key=_OUTCOMES.index)
        output.json({"verdict": verdict, "indexes": [plan.to_json() for plan in plans]})
        return
    for plan in plans:
        _print_plan(plan, output)
    for caveat in dict.fromkeys(plan.sample.caveat for plan in plans if plan.sample is not None):
        output.line(caveat, style="bold")


def outcome(plan: Plan) -> str:
    """The verdict in one word, or whether a refusal was overridden."""
    if plan.verdict is Verdict.REFUSED and plan.accepted is not None:
        return "accepted"
    return plan.verdict.value


def _print_plan(plan: Plan, output: Output) -> None:
    name = _name(plan)
    seen = plan.frequencies
    about = "about " if seen.is_sample else ""
    title = f"{name}: {about}{seen.rows:,} values, {_different(plan)}"
    rows = [_row(plan, forecast) for forecast in plan.advice.forecasts]
    if rows:
        output.table(title, _HEADINGS, rows, right=5)
    else:
        output.line(f"{title}.")
    for line in _facts(plan):
        output.line(f"  {line}")
    style = "yellow" if outcome(plan) == "accepted" else _STYLES[plan.verdict]
    output.line(f"{name}: {_sentence(plan)}", style=style)


def _name(plan: Plan) -> str:
    index = plan.index
    if plan.name is None:
        return f"{plan.table}.{index.column}, transform {index.transform}"
    parts = ", ".join(f"{column} {transform.name}" for column, transform in index.parts)
    return f"{plan.table}, compound index {plan.name} ({parts})"


def _different(plan: Plan) -> str:
    seen = plan.frequencies
    if not seen.is_sample:
        return f"{seen.distinct:,} different"
    return f"{seen.distinct:,} different seen, about {seen.distinct_estimate:,} in all"


def _row(plan: Plan, forecast: Forecast) -> list[Cell]:
    marks = [
        word
        for word, bits in (("given", plan.bits), ("recommended", plan.advice.bits))
        if forecast.bits == bits
    ]
    verdict = judge(forecast.outsider_share)
    if plan.advice.reason in ("boolean", "enum", "few-values"):
        verdict = Verdict.REFUSED
    said = f"{verdict.value}, {' and '.join(marks)}" if marks else verdict.value
    return [
        f"{forecast.bits}",
        (said, _STYLES[verdict]),
        _number(forecast.extra_rows),
        _number(forecast.extra_rows_most),
        _number(forecast.values_per_hash),
        _share(forecast.alone),
        _share(forecast.outsider_share),
    ]


def _facts(plan: Plan) -> list[str]:
    seen = plan.frequencies
    facts = []
    if seen.counts:
        facts.append(
            f"the most common value has {_share(seen.most_common_share)} of the rows; entropy "
            f"{seen.entropy_bits:.1f} bits, min-entropy {seen.min_entropy_bits:.1f} bits; "
            f"{_share(seen.repeated_share)} of the rows {'drawn ' * seen.is_sample}share their "
            "value with another"
        )
    if seen.counts and not seen.is_sample:
        facts.append(
            f"{seen.unique_counts:,} values have a number of rows that no other has; with a copy "
            f"of these numbers {_share(seen.insider_share)} of the rows could be named at full "
            "length"
        )
    if plan.key_id is not None:
        facts.append(
            f"values are under {len(plan.index.by_key):,} keys, whose hashes cannot be compared; "
            f"these are the figures of {plan.key_id}, which has most rows"
        )
    odd = {"NULL": plan.nulls, "not applicable": plan.index.inapplicable}
    odd |= {f"unreadable ({why})": n for why, n in sorted(plan.unreadable.items())}
    facts += [f"not counted: {n:,} {what}" for what, n in odd.items() if n]
    facts += [
        f"{column.plaintext:,} values of {column.column} are not encrypted yet"
        for column in plan.index.columns
        if column.plaintext and column.encrypted
    ]
    return facts


def _sentence(plan: Plan) -> str:
    if plan.verdict is Verdict.UNKNOWN:
        return (
            f"not judged: there are fewer than {FEW_ROWS} values, too few for their frequencies to "
            "tell anything; run it on real data."
        )
    if plan.verdict is Verdict.REFUSED:
        return _refusal(plan)
    judged = plan.judged
    assert judged is not None  # noqa: S101 - a verdict on a length has the length's forecast
    said = "" if plan.bits is not None else "recommended: "
    said += f"{index_code(plan, judged.bits)}; "
    said += f"counting names {_share(judged.outsider_share)} of the rows"
    if judged.bits < FULL_BITS:
        said += (
            f", a look-up reads {_number(judged.extra_rows)} extra rows, which are left out after "
            "decryption"
        )
    if plan.verdict is Verdict.CAUTION:
        said += ". Make sure that this is acceptable"
        if plan.bits is not None and plan.advice.bits not in (None, plan.bits):
            said += f"; fewer would be with {_recommended(plan)}"
    return said + "."


def _recommended(plan: Plan) -> str:
    return index_code(plan, plan.advice.bits or FULL_BITS)


def _refusal(plan: Plan) -> str:
    seen = plan.frequencies
    reasons = {
        "boolean": "a boolean has two values: counting the rows of each hash identifies them all",
        "enum": (
            f"an enumeration of fewer than {FEW_VALUES} members: whoever counts the rows of each "
            "hash knows which is which"
        ),
        "few-values": (
            f"{seen.distinct:,} different values: whoever counts the rows of each hash knows which "
            "is which, whatever the length"
        ),
        "too-costly": "a length that hides enough would make a look-up read too many extra rows",
    }
    why = reasons.get(plan.advice.reason)
    if plan.bits is not None and plan.judged is not None and why is None:
        why = (
            f"with {plan.bits} bits, counting names "
            f"{_share(plan.judged.outsider_share)} of the rows"
        )
    why = why or (
        "some values are so much more common than others that counting names too many of the rows "
        "at any length"
    )
    if plan.accepted is not None:
        return f"refused, but accepted: {why}. Accepted because: {plan.accepted}"
    advice = ""
    if plan.advice.bits is not None:
        advice = f" Recommended: {_recommended(plan)}."
    return (
        f"refused: {why}.{advice} Leave the column without an index and filter after decryption, "
        "or say with --accept-leakage why that is acceptable."
    )


def index_code(plan: Plan, bits: int) -> str:
    """The declaration: ``BlindIndex(digits.then(last(4)), bits=16)``."""
    parts = plan.index.parts
    length = [] if bits == FULL_BITS else [f"bits={bits}"]
    if plan.name is None:
        transforms = [_code(one.name) for _, one in parts if one != exact]
        return f"BlindIndex({', '.join(transforms + length)})"
    quoted = f'"{plan.name}"'
    columns = [
        f'"{name}"' if one == exact else f'("{name}", {_code(one.name)})' for name, one in parts
    ]
    return f"CompoundBlindIndex({', '.join([quoted, *columns, *length])})"


def _code(transform: str) -> str:
    """``digits.then(last(4))``."""
    head, *others = [_part(part) for part in transform.split(".")]
    return head + "".join(f".then({other})" for other in others)


def _part(name: str) -> str:
    head = name.rstrip("0123456789")
    return name if head == name else f"{head}({name[len(head) :]})"


def _share(share: float) -> str:
    return f"{share:.1%}" if share >= 0.0005 or not share else "<0.1%"


def _number(number: float) -> str:
    if number >= 10:
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 0.05 else "0"
