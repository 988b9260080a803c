"""`amix doctor`: what is installed, what the machine offers, and what is wrong with either."""

import click

from amix.cli import output
from amix.cli.shell.steps import next_step


@click.command()
@output.json_option
def command(as_json: bool) -> None:
    """Report versions, devices and problems of the installation. Exit code 1 when there is a problem."""
    from amix.cli.diagnosis import examination

    report = examination.examine()
    if as_json:
        output.json_line(report.as_dict())
    else:
        output.facts(report.facts())
        for note in report.notes:
            click.echo(f"\nNote: {note}")
        for problem in report.problems:
            click.echo(f"\nProblem: {problem.what}\n    Fix: {problem.remedy}")
        click.echo("" if report.problems else "\nNo problem found.", nl=not report.problems)
        if not report.problems:
            next_step("amix", "demo")
    if report.problems:
        raise SystemExit(1)
