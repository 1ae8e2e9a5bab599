"""Ask a head that answers with labels alone, and that gives none where it is not sure."""

import trial

import securealign
from securealign import OutputModeError

with trial.start() as here, securealign.connect(here.config, head="desks") as client:
    texts, topics = here.news(40)
    for head in client.heads():
        print(f"the provider offers {head.name!r}: answers {head.output.name.lower()}, abstains: {head.abstains}")

    answers = client.classify(texts)
    given = [answer for answer in answers if not answer.abstained]
    right = sum(answer.label == trial.desk(topics[answer.index]) for answer in given)
    print(f"{len(given)} of {len(texts)} texts got a label, {right} of these the right one")
    without = [answer.index for answer in answers if answer.abstained]
    print(f"no label for texts {without}")

    # The client learns no logits, and so there are no probabilities to ask for.
    try:
        client.predict_proba(texts[:1])
    except OutputModeError as error:
        print(f"{error.message} {error.hint}")
