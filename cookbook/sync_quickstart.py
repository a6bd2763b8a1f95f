"""How do I do it without `await`? `python sync_quickstart.py REPOSITORY`"""

import sys

from gitmachine import LocalMachine
from gitmachine.sync import GitMachine


def main(repository: str) -> None:
    with GitMachine(machine=LocalMachine(), repository=repository, session="without-await") as gm:
        gm.run("sed -i s/hello/goodbye/ hello.txt", on_stdout=print)
        print(gm.diff(stat=True))
        print("committed", gm.commit("Say goodbye"))


if __name__ == "__main__":
    main(sys.argv[1])

# It prints:
#
#     $ python sync_quickstart.py REPOSITORY
#      hello.txt | 2 +-
#      1 file changed, 1 insertion(+), 1 deletion(-)
#
#     committed 161d7f9a6f629ac3aca78f4307733a2c5aa3de98
