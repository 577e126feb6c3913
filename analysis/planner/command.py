"""`python -m analysis plan`: from a fitted law and a compute to sizes, tokens and losses, with intervals."""

import argparse
import json
from dataclasses import asdict

import numpy as np

from vsweep import program
from vsweep.analysis import option_help
from vsweep.analysis.answering import command
from vsweep.analysis.formatting import finite
from vsweep.analysis.planner.allocation import plan
from vsweep.analysis.planner.answers_text import render_prediction, scarce_block
from vsweep.analysis.planner.prediction import parse_run, predict
from vsweep.analysis.planner.results import GpuTime, Plan
from vsweep.analysis.planner.saved_law import (
    Extrapolation,
    SavedLaw,
    extrapolations,
    given_law,
    outside_of,
    read_fits,
    refuse_unshown,
)
from vsweep.analysis.planner.scarce_data import PUBLISHED, ScarceData, plan_scarce, repeated_laws, repeats_of
from vsweep.analysis.planner.text import render


@command("plan")
def main(arguments: list[str]) -> int:
    """Prints the plan; returns 0, or 2 where there is no law to plan by. Wrong arguments leave with 2."""
    options = _read(arguments)
    saved = given_law(options.law) if options.law else read_fits(options.fits, options.loss_convention)
    if not options.anyway:
        refuse_unshown(saved)
    level = saved.level if options.level is None else options.level
    print((_answer_at if options.at else _answer_plan)(options, saved, level))
    return 0


def _answer_at(options: argparse.Namespace, saved: SavedLaw, level: float) -> str:
    run = options.at
    found = predict(saved, run["N"], run["D"], unique=run.get("unique"), repeats=options.repeats, level=level)
    if options.json:
        return _as_json({"law": _law_json(saved), "prediction": {**asdict(found), "epochs": found.epochs}})
    law = repeated_laws(saved, options.repeats, level)[0].law if found.unique else None
    return render_prediction(found, saved, law)


def _answer_plan(options: argparse.Namespace, saved: SavedLaw, level: float) -> str:
    gpu = None
    if options.gpu_hours is not None:
        gpu = GpuTime(options.gpu_hours, options.gpus or 1.0, options.flops, options.mfu or 1.0)
    answer = plan(
        saved.law,
        gpu.flops if gpu else options.compute,
        resamples=saved.resamples,
        residual_sd_log=saved.residual_sd_log,
        level=level,
        reserve=options.reserve or 0.0,
        tokens=options.tokens,
        served=options.served,
    )
    scarce, outside = None, extrapolations(saved, answer)
    if options.unique_tokens:
        scarce = plan_scarce(saved, answer.flops, options.unique_tokens, level=level, repeats=options.repeats)
        run = {"the run with repeated data": (scarce.params.value, scarce.tokens.value)}
        outside = [*outside, *outside_of(saved, run)]
    if options.json:
        return to_json(answer, saved, gpu, outside, scarce)
    more = [scarce_block(scarce, saved, level)] if scarce else []
    return render(answer, saved, gpu, outside, more)


def to_json(
    plan: Plan,
    saved: SavedLaw,
    gpu: GpuTime | None,
    outside: list[Extrapolation],
    scarce: ScarceData | None = None,
) -> str:
    """The numbers of the text and more. An interval that has no upper end has a `low` and null for `high`."""
    return _as_json(
        {
            "law": _law_json(saved),
            "gpu": asdict(gpu) if gpu else None,
            "plan": asdict(plan),
            "unique_tokens": asdict(scarce) if scarce else None,
            "extrapolations": [asdict(entry) for entry in outside],
        }
    )


def _law_json(saved: SavedLaw) -> dict:
    names = ("source", "loss", "loss_unit", "floor_value", "size", "flops", "ranges", "residual_sd_log")
    standing = asdict(saved.standing) if saved.standing else None
    return {**{name: getattr(saved, name) for name in names}, "standing": standing}


def _as_json(content: dict) -> str:
    return json.dumps(finite(content), indent=2, allow_nan=False)


def _read(arguments: list[str]) -> argparse.Namespace:
    """The options; combinations that argparse cannot describe are checked here."""
    parser = _parser()
    options = parser.parse_args(arguments)
    gpu = {"--flops": options.flops, "--mfu": options.mfu, "--gpus": options.gpus}
    if options.gpu_hours is not None and options.flops is None:
        parser.error("argument --gpu-hours: give the speed of one GPU too, such as --flops 1.5e14 (FLOP/s)")
    unread = [name for name, value in gpu.items() if value is not None]
    if options.gpu_hours is None and unread:
        parser.error(f"argument {unread[0]}: is for --gpu-hours; --compute is the whole compute already")
    of_plan = ("tokens", "served", "reserve", "unique_tokens")
    for_plan = [name.replace("_", "-") for name in of_plan if options.at and getattr(options, name) is not None]
    if for_plan:
        parser.error(f"argument --at: answers one loss; --{for_plan[0]} is for a plan of a compute")
    if options.repeats and not (options.unique_tokens or (options.at and "unique" in options.at)):
        parser.error("argument --repeats: is for --unique-tokens, or for --at N=..,D=..,unique=..")
    if options.law and options.loss_convention:
        parser.error("argument --loss-convention: chooses a law in FITS.json; --law is one already")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        program.command("plan-from-law"),
        description="From a fitted scaling law to a training decision, with C = 6ND.",
        formatter_class=option_help.Help,
    )
    law = parser.add_mutually_exclusive_group(required=True)
    law.add_argument("fits", nargs="?", metavar="FITS.json", help=f"written by `{program.command('analyse')} WORKDIR`")
    law.add_argument(
        "--law",
        metavar="E,A,B,alpha,beta",
        help="five constants, or `hoffmann` (et al. 2022)",
    )
    parser.add_argument("--loss-convention", metavar="NAME", help="which loss of FITS.json (default: the first fitted)")
    compute = parser.add_mutually_exclusive_group(required=True)
    compute.add_argument("--compute", type=_positive, metavar="FLOP", help="training compute, 6ND")
    compute.add_argument("--gpu-hours", type=_positive, metavar="HOURS", help="hours of each GPU; needs --flops")
    compute.add_argument(
        "--at", type=_run, metavar="N=..,D=..[,unique=..]", help="no plan: the loss of this one run, with its interval"
    )
    parser.add_argument(
        "--flops", type=_positive, metavar="FLOP/S", help="speed of one GPU: measured, or its peak with --mfu"
    )
    parser.add_argument(
        "--mfu", type=_utilisation, metavar="SHARE", help="share of --flops that is reached (default: 1)"
    )
    parser.add_argument(
        "--gpus", type=_positive, metavar="COUNT", help="how many GPUs run for --gpu-hours (default: 1)"
    )
    parser.add_argument("--tokens", type=_positive, metavar="D", help="plan for this fixed number of tokens, too")
    parser.add_argument(
        "--unique-tokens",
        type=_positive,
        metavar="U",
        help="plan with so many distinct tokens, to be repeated",
    )
    parser.add_argument(
        "--repeats",
        type=_repeats,
        metavar="R_D,R_N",
        help=f"what repeats are worth, where FITS.json does not say: `{PUBLISHED}` for the published 15.39,5.31",
    )
    parser.add_argument("--served", type=_positive, metavar="TOKENS", help="tokens to serve over the model's life")
    parser.add_argument(
        "--reserve", type=_reserve, metavar="SHARE", help="share of the compute to keep back (default: 0)"
    )
    parser.add_argument(
        "--level",
        type=_level,
        metavar="PERCENT",
        help="coverage of the intervals (default: that of FITS.json, else 90)",
    )
    parser.add_argument("--anyway", action="store_true", help="plan even from a law that its runs do not show")
    parser.add_argument("--json", action="store_true", help="print all numbers as JSON")
    return parser


def _run(text: str) -> dict[str, float]:
    try:
        return parse_run(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _repeats(text: str) -> tuple[float, float]:
    try:
        return repeats_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a number - got {text!r}")
    return value


def _positive(text: str) -> float:
    value = _number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"must be above 0 - got {text!r}")
    return value


def _utilisation(text: str) -> float:
    value = _positive(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"must be a share up to 1 - got {text!r}; 40 % is 0.4")
    return value


def _level(text: str) -> float:
    value = _positive(text)
    if not 1 < value < 100:
        raise argparse.ArgumentTypeError(f"must be percent between 1 and 100 - got {text!r}; a share of 0.9 is 90")
    return value / 100


def _reserve(text: str) -> float:
    value = _number(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be a share from 0 to below 1 - got {text!r}; 25 % is 0.25")
    return value
