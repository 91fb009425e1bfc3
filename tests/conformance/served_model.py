"""A server of ours with a random model, for the scripts beside that talk to it with other programs' clients."""
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SKIPPED = 77  # as automake and others say it

failures = []


def check(ok, line):
    print(f"  {'ok    ' if ok else 'FAILED'} {line}")
    if not ok:
        failures.append(line)


def finish():
    print(f"{len(failures)} failed" if failures else "all agree")
    sys.exit(1 if failures else 0)


class ServedModel:
    """`with ServedModel(arguments) as server:` serves "m" and, from the folder `root`, what is asked for; with
    `chat=True` also "chat", which has a chat template."""

    CHAT = ("{% for m in messages %}{{ m.role ~ ': ' ~ m.content ~ '\n' }}{% endfor %}"
            "{% if add_generation_prompt %}assistant:{% endif %}")

    def __init__(self, arguments, chat=False):
        self.chat = chat
        self.bin, self.given = arguments.bin, arguments.model
        for path in (self.bin / "inference" / "tritter_inference", self.bin / "tests" / "testing" / "make_model"):
            if not path.exists():
                sys.exit(f"{path}: missing; run: bazel build //inference:tritter_inference //tests/testing:make_model")

    @staticmethod
    def arguments(parser):
        parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "bazel-bin", help="folder of the built binaries")
        parser.add_argument("--model", type=pathlib.Path, help="serve this model and not a random one")
        return parser.parse_args()

    def make(self, path, seed, container="tpack"):
        subprocess.run([self.bin / "tests" / "testing" / "make_model", "--out", path, "--preset", "nano", "--seed",
                        str(seed), "--format", container], check=True, stdout=subprocess.DEVNULL)

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        work = pathlib.Path(self.folder.name)
        self.root = work / "root"
        self.root.mkdir()
        model = self.given
        if model is None:
            model = work / "m.tpack"
            self.make(model, 1)
        self.make(self.root / "second.tpack", 2)
        models = ["--model", f"{model}=m"]
        if self.chat:
            self.make(work / "chat", 3, "hf")
            config = work / "chat" / "tokenizer_config.json"
            config.write_text(json.dumps({**json.loads(config.read_text()), "chat_template": self.CHAT}))
            models += ["--model", work / "chat"]
        ready = work / "ready.json"
        self.log = open(work / "log", "w+")
        self.process = subprocess.Popen(
            [self.bin / "inference" / "tritter_inference", *models, "--model-root", self.root,
             "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--max-kv-memory", "64MB",
             "--ready-file", ready], stderr=self.log)
        while not ready.exists():
            if self.process.poll() is not None:
                self.log.seek(0)
                sys.exit(f"the server did not start:\n{self.log.read()}")
            time.sleep(0.02)
        addresses = json.loads(ready.read_text())
        self.grpc, self.http = addresses["address"], addresses["http_address"]
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        check(self.process.wait(60) == 0, "the server ends with 0 after SIGTERM")
        self.log.close()
        self.folder.cleanup()
