"""kubeconfig files: merged as kubectl does it, and what is wrong told with file, place and remedy."""

import os

import pytest
import yaml

from hawse.diagnostics import HawseError
from hawse.kube import access, kubeconfig
from hawse.kube.access import Auth

GOOD = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "prod",
    "clusters": [
        {"name": "c1", "cluster": {"server": "https://api.example:6443", "certificate-authority": "pki/ca.crt"}}
    ],
    "users": [{"name": "u1", "user": {"tokenFile": "tokens/t"}}],
    "contexts": [{"name": "prod", "context": {"cluster": "c1", "user": "u1", "namespace": "shop"}}],
}


def write(path, config):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(config if isinstance(config, str) else yaml.safe_dump(config))
    return str(path)


def finding(call):
    with pytest.raises(HawseError) as caught:
        call()
    assert len(caught.value.findings) == 1
    return caught.value.findings[0]


def test_paths_are_relative_to_the_file_not_to_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path / "deep" / "config", GOOD)
    found = kubeconfig.resolve(kubeconfig.load("deep/config"))
    assert found.cluster.certificate_authority == f"{tmp_path}/deep/pki/ca.crt"
    assert found.user.token_file == f"{tmp_path}/deep/tokens/t"
    assert found.context.namespace == "shop"
    assert os.path.samefile(found.file, file)


def test_absolute_paths_and_commands_on_the_path_stay(tmp_path):
    config = {**GOOD, "users": [{"name": "u1", "user": {"exec": {"command": "aws", "apiVersion": "x"}}}]}
    config["clusters"] = [{"name": "c1", "cluster": {"server": "https://h", "certificate-authority": "/etc/ca.crt"}}]
    found = kubeconfig.resolve(kubeconfig.load(write(tmp_path / "config", config)))
    assert found.cluster.certificate_authority == "/etc/ca.crt"
    assert found.user.exec.command == "aws"
    config["users"][0]["user"]["exec"]["command"] = "bin/login"
    found = kubeconfig.resolve(kubeconfig.load(write(tmp_path / "config", config)))
    assert found.user.exec.command == f"{tmp_path}/bin/login"


def test_of_several_files_the_first_that_sets_something_wins(tmp_path):
    first = {"current-context": "a", "contexts": [{"name": "a", "context": {"cluster": "c1", "user": "u1"}}]}
    second = {**GOOD, "current-context": "prod"}
    third = {"clusters": [{"name": "c1", "cluster": {"server": "https://other"}}], "users": None}
    names = [write(tmp_path / name, config) for name, config in (("1", first), ("2", second), ("3", third))]
    merged = kubeconfig.load(env={"KUBECONFIG": ":".join([names[0], str(tmp_path / "absent"), *names[1:]])})
    assert merged.files == names
    assert merged.current_context == "a"
    found = kubeconfig.resolve(merged)
    assert (found.context_name, found.cluster.server) == ("a", "https://api.example:6443")
    assert found.file == names[1]


def test_without_a_path_the_home_folder_counts(tmp_path):
    file = write(tmp_path / ".kube" / "config", GOOD)
    assert kubeconfig.load(env={"HOME": str(tmp_path)}).files == [file]


def test_no_file(tmp_path):
    found = finding(lambda: kubeconfig.load(str(tmp_path / "absent")))
    assert found.code == "HW501" and f"{tmp_path}/absent" in found.message and "kube_config_path" in found.fix


def test_a_folder_is_no_file(tmp_path):
    found = finding(lambda: kubeconfig.load(str(tmp_path)))
    assert found.code == "HW502" and found.where.file == str(tmp_path) and "directory" in found.message


@pytest.mark.parametrize(("text", "line"), [("a: [1\nb: 2\n", 2), ("a: 1\n\tb: 2\n", 2), ("\x00", 0)])
def test_no_yaml_is_told_with_its_line(tmp_path, text, line):
    file = write(tmp_path / "config", text)
    found = finding(lambda: kubeconfig.load(file))
    assert found.code == "HW502" and found.where.file == file and "no YAML" in found.message
    if line:
        assert found.where.line == line


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"clusters": {"name": "x"}}, "$.clusters"),
        ({"clusters": [{"name": 5}]}, "$.clusters[0].name"),
        ({"users": [{"name": "u", "user": {"exec": {}}}]}, "$.users[0].user.exec"),
        ([1, 2], ""),
    ],
)
def test_another_shape_is_told_with_its_path(tmp_path, config, path):
    file = write(tmp_path / "config", config)
    found = finding(lambda: kubeconfig.load(file))
    assert found.code == "HW502" and found.where.file == file and found.where.path == path


@pytest.mark.parametrize(
    ("change", "context", "says", "fix"),
    [
        ({}, "porod", "no context 'porod'", "did you mean 'prod'?"),
        ({}, "zzz", "no context 'zzz'", "'prod'"),
        ({"current-context": None}, "", "no current-context", "'prod'"),
        ({"clusters": []}, "", "no cluster 'c1'", "none"),
        ({"users": [{"name": "u2", "user": {}}]}, "", "no user 'u1'", "'u2'"),
    ],
)
def test_what_is_missing_is_told_with_the_nearest_name(tmp_path, change, context, says, fix):
    config = kubeconfig.load(write(tmp_path / "config", {**GOOD, **change}))
    found = finding(lambda: kubeconfig.resolve(config, context))
    assert found.code == "HW503" and says in found.message and fix in found.fix
    assert found.where.file == str(tmp_path / "config")


@pytest.mark.parametrize(
    ("cluster", "user", "says"),
    [
        ({"server": ""}, {}, "names no server"),
        ({"server": "api.example:6443"}, {}, "is no URL"),
        ({"server": "https://h", "proxy-url": "http://p"}, {}, "proxy-url"),
        ({"server": "https://h"}, {"auth-provider": {"name": "gcp"}}, "auth-provider"),
        ({"server": "https://h"}, {"client-certificate": "c"}, "client-key"),
        ({"server": "https://h"}, {"client-key-data": "aGk="}, "client-certificate"),
        ({"server": "https://h"}, {"as": "x", "as-groups": ["a", "b"]}, "as-groups"),
        (
            {"server": "https://h"},
            {"exec": {"command": "x", "apiVersion": "v", "interactiveMode": "Always"}},
            "terminal",
        ),
    ],
)
def test_what_is_not_supported_or_contradicts_itself(tmp_path, cluster, user, says):
    config = {**GOOD, "clusters": [{"name": "c1", "cluster": cluster}], "users": [{"name": "u1", "user": user}]}
    loaded = kubeconfig.load(write(tmp_path / "config", config))
    found = finding(lambda: kubeconfig.resolve(loaded))
    assert says in found.message and found.fix and found.where.path


def test_base64_that_is_none_is_told(tmp_path):
    config = {
        **GOOD,
        "clusters": [{"name": "c1", "cluster": {"server": "https://h", "certificate-authority-data": "a"}}],
    }
    file = write(tmp_path / "config", config)
    found = finding(lambda: access.of(Auth("kubeConfig", "", file)))
    assert found.code == "HW506" and "certificate-authority-data" in found.message


def test_impersonation_becomes_headers(tmp_path):
    config = {**GOOD, "users": [{"name": "u1", "user": {"token": "t", "as": "jane", "as-groups": ["dev"]}}]}
    made = access.of(Auth("kubeConfig", "", write(tmp_path / "config", config)))
    assert made.extra_headers == {"impersonate-user": "jane", "impersonate-group": "dev"}
