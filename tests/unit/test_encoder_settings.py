"""Settings of encoders, the same for both parties: what can be set, and what is refused before anything is embedded."""

from __future__ import annotations

import pytest

from securealign import models
from securealign.client.config import ClientSettings
from securealign.errors import ConfigurationError
from securealign.models.pretrained import check_device
from securealign.provider.config import ProviderSettings
from securealign.settings import load_settings

CLIENT = '[provider]\ncertificates = "certs"\n[public]\ntexts = "p.jsonl"\n[encoder]\n'
PROVIDER = '[server]\ncertificates = "certs"\n[public]\ntexts = "p.jsonl"\n'
ENDPOINT = 'endpoint = "https://api.example/v1"\nmodel = "m"\n'


@pytest.fixture(params=["client", "provider"])
def load(request, tmp_path):
    """Read the section of a party's encoder; "name" is the encoder's."""

    def read(lines):
        file = tmp_path / "party.toml"
        client = request.param == "client"
        text = CLIENT + lines if client else PROVIDER + lines.replace("name =", "encoder =")
        file.write_text(text, encoding="utf-8")
        settings = load_settings(ClientSettings if client else ProviderSettings, file, [])
        return settings, settings.encoder if client else settings.public

    return read


def test_an_encoder_that_runs_here_gets_its_settings(load, monkeypatch):
    asked = []
    monkeypatch.setattr(models, "open_encoder", lambda *name, **given: asked.append((name, given)))
    settings, choice = load('name = "mpnet"\nmax_tokens = 9\nprompt = "query: "\ndevice = "cuda:1"\n')
    settings.open_encoder(choice)
    assert asked == [(("mpnet",), {"max_tokens": 9, "prompt": "query: ", "device": "cuda:1"})]


def test_an_endpoint_gets_its_settings(load, monkeypatch):
    asked = []
    monkeypatch.setattr(models, "EndpointEncoder", lambda *place, **given: asked.append((place, given)))
    more = 'prompt = "q"\ndimensions = 9\napi_key_env = "KEY"\ntimeout_seconds = 5\nrevision = "2"\n'
    settings, choice = load(ENDPOINT + more)
    settings.open_encoder(choice)
    ((endpoint,), given) = asked[0]
    assert (endpoint.url, endpoint.model, endpoint.dimensions) == ("https://api.example/v1", "m", 9)
    assert (endpoint.api_key_env, endpoint.timeout_seconds, endpoint.allow_plain_http) == ("KEY", 5, False)
    assert given == {"prompt": "q", "revision": "2"}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('name = "mpnet"\ndevice = "gpu"', "write cpu, mps, cuda, or cuda:1"),
        ('name = "mpnet"\ndevice = "cuda:x"', "write cpu, mps, cuda, or cuda:1"),
        ('name = "mpnet"\nmax_tokens = 0', "max_tokens: Input should be greater than 0"),
        ('name = "mpnet"\nprompt = 5', "prompt: Input should be a valid string"),
        (
            'name = "mpnet"\ndimensions = 9\nrevision = "2"',
            "dimensions, revision belong to an endpoint",
        ),
        ('name = "mpnet"\n' + ENDPOINT, "give"),
        ('endpoint = "https://api.example/v1"', "an endpoint needs model"),
        (ENDPOINT + "max_tokens = 9", "max_tokens and device belong to an encoder that runs here"),
        (ENDPOINT + 'device = "cuda"', "max_tokens and device belong to an encoder that runs here"),
        (ENDPOINT + "dimensions = 0", "dimensions: Input should be greater than 0"),
        (ENDPOINT + "timeout_seconds = 0", "timeout_seconds: Input should be greater than 0"),
        (ENDPOINT + 'api_key_env = "sk-secret"', "no name of an environment variable"),
        ('endpoint = "http://api.example/v1"\nmodel = "m"', "allow_plain_http = true"),
        ('endpoint = "https://me:secret@a/v1"\nmodel = "m"', "endpoint holds a user name"),
        ("", "give"),
    ],
)
def test_what_does_not_fit_is_refused_when_the_file_is_read(load, lines, said):
    with pytest.raises(ConfigurationError) as caught:
        load(lines)
    assert said in caught.value.message
    assert "secret" not in str(caught.value)


def test_a_provider_with_embeddings_made_elsewhere_has_no_encoder_to_open(tmp_path):
    file = tmp_path / "provider.toml"
    file.write_text(PROVIDER + 'embeddings = "p.npy"\n', encoding="utf-8")
    settings = load_settings(ProviderSettings, file, [])
    with pytest.raises(ConfigurationError, match="There is no encoder"):
        settings.open_encoder(settings.public)


@pytest.mark.models
def test_a_device_that_this_machine_lacks_is_refused_before_a_model_is_read(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="needs the extra 'models'")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    from securealign.models import transformer

    monkeypatch.setattr(transformer, "load_sentence_model", None)
    for device in ("cuda", "cuda:1", "mps"):
        with pytest.raises(ConfigurationError, match=f"The device '{device}' cannot be used"):
            models.open_encoder(str(tmp_path), device=device)
        with pytest.raises(ConfigurationError, match=f"The device '{device}' cannot be used"):
            check_device(device)
    check_device("cpu")
