"""The command line `cosmos-ops`. Exit codes: 0 done, 1 the work failed, 2 wrong use or bad input."""

import sys

from cosmos_ops.errors import UserError, WorkFailed, storage_failure
from pipelines.cli.output import Output
from pipelines.cli.parser import build_parser
from pipelines.instance import lost_database


def main(argv: list[str] | None = None) -> int:
    """Run one command; an expected failure is one line on stderr, never a traceback."""
    arguments = build_parser().parse_args(argv)
    output = Output(json=arguments.json)
    try:
        with lost_database():
            answer = arguments.command(arguments, output)
        output.finish(answer)
        return output.code
    except (UserError, WorkFailed) as error:
        output.fail(str(error))
        return 2 if isinstance(error, UserError) else 1
    except KeyboardInterrupt:
        output.fail("interrupted; run the same command again, it continues where it stopped")
        return 130
    except BrokenPipeError:
        # The reader of stdout went away (`| head`): nothing is left to say.
        sys.stderr.close()
        return 1
    except Exception as error:
        told = storage_failure(error)
        if told is None:
            raise
        output.fail(str(told))
        return 1
