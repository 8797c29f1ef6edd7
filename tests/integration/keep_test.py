#!/usr/bin/python3
# keep_test: deploy/quickstart from end to end, and every command that --keep prints, run exactly as printed.
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))

import world  # noqa: E402  (the path must be set first)

QUICKSTART = world.TOP / "deploy/quickstart"
CHECK = world.TOP / "tests/check_quickstart"
ROWS = "1|Ada|0-\n2|Grace|A+\n3|Edsger|B+\n"
SECONDS = 400  # with the build
# quickstart goes on as the user who called sudo, and that user plays with the network
AS_USER = ["runuser", "-u", os.environ["SUDO_USER"], "--"] if os.environ.get("SUDO_USER") else []
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("ENFILADE_")}  # as a newcomer's

# What each printed command must show, by its beginning; all of them end with exit code 0.
SHOWS = (
    ("export PATH=", r"\A\Z"),
    ("enfilade network status", r"(?ms)^n7 +hsm +ok .*^c1 +config +none "),
    ("enfilade run unlock-db", r"vault +2? *.*" + re.escape(ROWS)),
    ("enfilade chain show", r"vault.*n3.*n4.*n5"),
    ("enfilade chain generate", r"\A(?s:.*)enfilade: chain/v1\n(?s:.*)n7"),
    ("enfilade document show", r"db-policy"),
    ("enfilade audit show n1", r"(?m)^ +\d+ +\S+Z +grant "),
    ("enfilade audit explain", r"factor evidence:tpm2: NOT MET; expected .*, got "),
    ("enfilade audit verify", r"n1: ok, \d+ entries\n(?s:.*)n7: ok, \d+ entries\n"),
    ("LOCALNET kill", r"\A\Z"),
    ("LOCALNET start", r"\A\Z"),
    ("QUICKSTART --stop", r"enfilade: stopped; .* can be removed"),
)


class Shell:
    """One bash that runs commands as a person would type them; each with its exit code and output."""

    def __init__(self, folder):
        self.bash = subprocess.Popen([*AS_USER, "bash", "--norc"], cwd=folder, env=ENVIRONMENT, stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, command):
        """-> (exit code, output)"""
        self.bash.stdin.write(f"{command}\necho \"$?=code\"\n")
        self.bash.stdin.flush()
        output = ""
        for line in self.bash.stdout:
            found = re.fullmatch(r"(.*?)(\d+)=code\n", line)
            if found:
                return int(found[2]), output + found[1]
            output += line
        raise AssertionError(f"the shell ended during: {command}")

    def close(self):
        self.bash.stdin.close()
        self.bash.wait(10)
        self.bash.stdout.close()


class KeepTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.base = pathlib.Path(tempfile.mkdtemp(prefix="enf-keep-"))
        if AS_USER:
            shutil.chown(cls.base, os.environ["SUDO_USER"])
        cls.dir, cls.json = cls.base / "quick start", cls.base / "transcript.json"  # a space in the name must not matter
        cls.first = cls.quickstart("--keep", "--json", cls.json, cls.dir)

    @classmethod
    def tearDownClass(cls):
        if (cls.dir / "quickstart").exists():
            cls.quickstart("--stop", cls.dir)
        shutil.rmtree(cls.base, ignore_errors=True)

    @classmethod
    def quickstart(cls, *arguments, **env):
        return world.execute([QUICKSTART, *arguments], {**ENVIRONMENT, **env}, SECONDS)

    def left_running(self):
        """Processes that have something to do with the folder."""
        found = []
        for file in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if str(self.dir).encode() in file.read_bytes() and int(file.parent.name) != os.getpid():
                    found.append(file.parent.name)
            except OSError:
                pass
        return found

    def test_1_it_says_what_it_does_and_ends_well(self):
        self.assertEqual(self.first.code, 0, self.first.err)
        self.assertIn(ROWS, self.first.out)
        self.assertEqual(self.first.err.splitlines()[-1], "enfilade: ok")
        for words in ("building", "making seven HSM nodes", "(a) the walk", "(b) what is refused", "(c) nodes fail", "(d) the ledgers",
                      "(e) a token goes away", r"gate +1 +n1 +device,network,evidence:tpm2 +\d", r"evidence +denial [0-9a-f]{32}",
                      r"device +denial [0-9a-f]{32}", r"network +denial [0-9a-f]{32}", r"time +denial [0-9a-f]{32}",
                      "evidence:tpm2: NOT MET; expected", r"stage vault: 1 of 2 members", r"exit 4 after \d{2,4} ms",
                      r"n5: ALTERED: entry 3: stored hash [0-9a-f]{64}, recomputed [0-9a-f]{64}", "it opens again"):
            self.assertRegex(self.first.err, re.escape(words) if "(" in words and "\\" not in words else words)

    def test_2_the_transcript_holds(self):
        judged = world.execute([CHECK, self.json])
        self.assertEqual(judged.code, 0, judged.err)
        self.assertRegex(judged.out, r"denials: 4 found in the ledgers, 5 exit codes")
        self.assertRegex(judged.out, r"ledgers: 7 logs")
        transcript = json.loads(self.json.read_text())
        for change in (lambda t: t["denials"][0].update(code="quota"), lambda t: t["exit_codes"].update(unseal=3),
                       lambda t: t["walk"]["visits"].pop(), lambda t: t.update(root_hash="00" * 32)):
            altered = json.loads(json.dumps(transcript))
            change(altered)
            file = self.base / "altered.json"
            file.write_text(json.dumps(altered))
            self.assertEqual(world.execute([CHECK, file]).code, 1)

    def test_3_the_printed_commands_work(self):
        commands = re.findall(r"(?m)^    \$ (.*)$", self.first.out)
        self.assertGreaterEqual(len(commands), 12, self.first.out)
        self.assertTrue(self.left_running(), "--keep left the network running")
        shell, shown = Shell("/"), set()
        try:
            for command in commands:
                with self.subTest(command):
                    code, output = shell.run(command)
                    self.assertEqual(code, 0, output)
                    start, pattern = self.expected(command)
                    shown.add(start)
                    self.assertRegex(output, re.compile(pattern, re.DOTALL if "(?s" not in pattern and "(?m" not in pattern else 0))
        finally:
            shell.close()
        self.assertEqual(shown, {start for start, _ in SHOWS})
        self.assertEqual(self.left_running(), [])

    def expected(self, command):
        plain = command.replace(str(world.TOP / "deploy/localnet"), "LOCALNET").replace(str(QUICKSTART), "QUICKSTART")
        rows = [row for row in SHOWS if plain.startswith(row[0])]
        self.assertEqual(len(rows), 1, f"keep_test does not know what this shows: {command}")
        return rows[0]

    def test_4_twice_works_and_leaves_nothing_running(self):
        again = self.quickstart(self.dir)
        self.assertEqual(again.code, 0, again.err)
        self.assertEqual(again.err.splitlines()[-1], "enfilade: ok")
        self.assertEqual(self.left_running(), [])

    def refused(self, code, words, *arguments, **env):
        done = self.quickstart(*arguments, **env)
        self.assertEqual((done.code, done.out), (code, ""), done.err)
        self.assertEqual(len(done.err.splitlines()), 1, done.err)
        self.assertRegex(done.err, words)

    def test_5_one_clear_error(self):
        target = self.base / "other"
        self.quickstart("--stop", self.dir)  # when this test runs alone
        with socket.create_server(("127.0.0.14", world.PORT)):
            self.refused(2, r"127\.0\.0\.14:7600 is taken by another program .*--stop DIR", target)
        self.refused(2, r"has only \d+ MiB free: quickstart needs \d+ MiB; name another folder", target,
                     QUICKSTART_DISK_KIB=str(1 << 50))
        target.mkdir(exist_ok=True)
        (target / "mine").write_text("a file")
        self.refused(2, "is not empty and was not made by quickstart: name another folder", target)
        self.assertEqual((target / "mine").read_text(), "a file")
        self.refused(2, "holds no network of quickstart", "--stop", target)
        self.assertEqual(self.quickstart("--bogus").code, 2)
        self.assertEqual(self.quickstart("--help").code, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
