"""Bodies of requests and responses: vLLM's classify API and OpenAI's list of models, with further fields."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictStr


class ClassifyRequest(BaseModel):
    """Texts to classify, and the head to ask; further fields are ignored."""

    model_config = ConfigDict(json_schema_extra={"example": {"input": ["the first text", "the second text"]}})

    model: StrictStr | None = Field(
        default=None, max_length=256, description='Name of a head; without it, or "", the one that is configured.'
    )
    input: StrictStr | Annotated[list[StrictStr], Field(min_length=1)] = Field(
        description="A text, or a list of texts; the service limits their number and their characters."
    )


class Classification(BaseModel):
    """The answer to one text."""

    index: int = Field(description="Number of the text in the request, from 0.")
    label: str | None = Field(description="Name of the class; null where the provider withholds a label.")
    probs: list[float] | None = Field(
        description="Probabilities of all classes, in their order; null where the provider gives none."
    )
    num_classes: int
    abstained: bool = Field(description="Whether the provider withheld the label.")
    confidence: int | None = Field(description="Thresholds of the provider that the answer exceeds; null without any.")


class Answered(BaseModel):
    """The answer to one text of a request that failed afterwards."""

    index: int
    label: str | None
    score: float | None = Field(description="Probability of the class; null where there is none.")
    abstained: bool
    confidence: int | None


class Usage(BaseModel):
    """What an answer cost; tokens are those of the client's encoder, which are not counted."""

    prompt_tokens: Literal[0] = 0
    total_tokens: Literal[0] = 0
    completion_tokens: Literal[0] = 0
    queries: int = Field(description="Texts that were asked; the provider's budget counts check rows as well.")


class ClassifyResponse(BaseModel):
    """The answers to all texts of a request, in their order."""

    id: str
    object: Literal["list"] = "list"
    created: int = Field(description="Unix time in seconds.")
    model: str = Field(description="Name of the head that answered.")
    head_digest: str = Field(description="Digest of that head in hexadecimal digits; it changes when the head does.")
    data: list[Classification]
    usage: Usage


class Model(BaseModel):
    """A head that the provider offers."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="Unix time in seconds at which this service began.")
    owned_by: str = Field(description="Address of the provider.")
    num_classes: int
    output: Literal["logits", "label"]
    digest: str = Field(description="Digest of the head in hexadecimal digits; it changes when the head does.")
    queries_left: int
    bits_left: int | None


class Models(BaseModel):
    """The heads that the provider offers."""

    object: Literal["list"] = "list"
    data: list[Model]


class Health(BaseModel):
    """Whether the service runs."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether requests can be answered: the provider has answered lately."""

    ready: bool
    provider: str = Field(description="How the provider answered last: ok, or the code of an error.")
    seconds_ago: float = Field(description="Seconds since then.")


class Failure(BaseModel):
    """What went wrong, and what to do."""

    code: str = Field(description="Name of an error code; docs/errors.md has a section about each.")
    message: str
    hint: str


class Problem(BaseModel):
    """Body of every response that is not a success."""

    error: Failure


class PartialProblem(Problem):
    """The error of a request of which a part was answered: those answers, which were charged, and what is missing."""

    data: list[Answered] | None = None
    missing: list[int] | None = Field(default=None, description="Numbers of the texts that were not answered.")
