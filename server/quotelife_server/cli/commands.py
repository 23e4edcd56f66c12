"""All commands under one name. Each lives in its own module and imports what it needs when it runs."""

import typer

from quotelife_server.cli import (
    backtest,
    bench,
    capture,
    config,
    counterparty,
    demo,
    doctor,
    explain,
    get,
    journal,
    kill,
    labels,
    models,
    monitor,
    options,
    promote_check,
    replay,
    report,
    serve,
    train,
    watch,
)

app = typer.Typer(
    name="quotelife",
    help="Decides how long a firm quote may live.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 configuration refused, 130 interrupted; "
    "journal verify and explain have 4 and 5 besides.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # words in brackets are words
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

app.callback()(options.connection)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.command("get")(get.get)
app.command("watch")(watch.watch)
app.command("kill")(kill.kill)
app.command("enable")(kill.enable)
app.command("replay")(replay.replay)
app.command("monitor")(monitor.monitor)
app.command("labels")(labels.labels)
app.command("promote-check")(promote_check.promote_check)
app.command("report")(report.report)
app.command("train")(train.train)
app.command("calibrate")(train.calibrate)
app.command("backtest")(backtest.backtest)
app.command("explain")(explain.explain)
app.command("doctor")(doctor.doctor)
app.command("bench")(bench.bench)
app.add_typer(config.app, name="config")
app.add_typer(counterparty.app, name="counterparty")
app.add_typer(capture.app, name="capture")
app.add_typer(journal.app, name="journal")
app.add_typer(models.app, name="models")
