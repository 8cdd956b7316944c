"""`scrape_config_files`: further jobs, in files of their own that are read at the start (and at a reload)."""

import glob
from collections.abc import Iterator
from pathlib import Path

from hawse.component import Section
from hawse.config.decode import FAILED, Decoder
from hawse.config.reader import read_yaml
from hawse.diagnostics import Finding, HawseError, Severity, Where
from hawse.prometheus.settings import ScrapeConfig, ScrapeConfigs, job_problems
from hawse.receivers.prometheus import config


class File(Section, frozen=True):
    """What such a file has in it. References to the environment are not replaced, as in Prometheus."""

    scrape_configs: tuple[ScrapeConfig, ...] = ()


def jobs_of_files(settings: ScrapeConfigs) -> list[ScrapeConfig]:
    """The jobs of all files. A pattern that fits no file is no error. Raises HawseError with all that is wrong."""
    findings: list[Finding] = []
    jobs: list[ScrapeConfig] = []
    names = {job.job_name for job in settings.scrape_configs}
    for pattern in settings.scrape_config_files:
        for path in sorted(glob.glob(pattern)) or ([] if glob.has_magic(pattern) else [pattern]):
            for number, job in enumerate(_read(path, findings)):
                place = f"scrape_configs[{number}]"
                findings += _problems(job, settings, names, Where(path, path=place))
                names.add(job.job_name)
                jobs.append(job)
    if findings:
        raise HawseError(findings)
    return jobs


def _read(path: str, findings: list[Finding]) -> tuple[ScrapeConfig, ...]:
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        message = f"cannot read the scrape configurations: {error.strerror}"
        findings.append(Finding("HW101", Severity.ERROR, Where(path), message, "check the path and its rights"))
        return ()
    found = Decoder(findings).struct(read_yaml(text, path, findings), File, "")
    return () if found is FAILED else found.scrape_configs


def _problems(job: ScrapeConfig, settings: ScrapeConfigs, names: set[str], where: Where) -> Iterator[Finding]:
    """What is wrong with a job beside what it says of itself."""
    problems = [*job_problems(job, settings.global_, where.path), *config.job_problems(job, where.path)]
    for problem in problems:
        place = Where(where.file, path=problem.path)
        yield Finding("HW110", Severity.ERROR, place, problem.message, problem.fix)
    if job.job_name in names:
        place = Where(where.file, path=f"{where.path}.job_name")
        message = f'found multiple scrape configs with job name "{job.job_name}"'
        yield Finding("HW110", Severity.ERROR, place, message, "give each job a name of its own")
