"""Check the config and write the stamp of each stage, if it is another than before."""

from pipeline import cli, config
from pipeline.cache import files, plan


def main() -> None:
    """Write what decides each artifact; make compares the times of these files."""
    args = cli.arguments(__doc__)
    run = plan.artifacts_of(args.config)

    settings = config.load(args.config, args.data)
    stamps = plan.stamps(settings, run)

    texts = {
        plan.stamp_path(run, name): plan.canonical(stamp)
        for name, stamp in stamps.items()
    }
    where = plan.paths(settings, args.config, args.data)
    texts[run / "stamps" / "paths.json"] = plan.canonical(where)
    for path, text in texts.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            files.write_text(path, text)


if __name__ == "__main__":
    cli.run(main)
