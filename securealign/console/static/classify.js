// Sends the texts of the form to this machine's own service, and shows each answer as it arrives.
"use strict";
(() => {
  const form = document.getElementById("classify"), field = document.getElementById("texts");
  const send = form.querySelector("[type=submit]"), stop = document.getElementById("stop");
  const counted = document.getElementById("counted"), said = document.getElementById("said");
  const problem = document.getElementById("problem"), results = document.getElementById("results");
  const rows = results.querySelector("tbody");
  const lines = () => field.value.split(/\r\n|\r|\n/).filter(line => line.trim()).length;
  let under = null;

  const make = (tag, text, kind) => {
    const made = document.createElement(tag);
    made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };

  const count = () => {
    const number = lines();
    counted.textContent = number ? `${number.toLocaleString("en")} text${number > 1 ? "s" : ""}` : "";
  };

  const score = answer => {
    if (answer.score !== null) return make("td", `${(100 * answer.score).toFixed(1)}%`, "score");
    if (answer.confidence !== null) return make("td", `level ${answer.confidence}`, "score");
    const cell = make("td", "", "score");
    cell.append(make("span", "not told", "muted"));
    return cell;
  };

  const show = answer => {
    const row = document.createElement("tr");
    const label = answer.abstained ? make("td", "no label", "label muted") : make("td", answer.label, "label");
    row.append(make("td", answer.text, "text"), label, score(answer));
    rows.append(row);
    results.hidden = false;
  };

  const fail = error => {
    const shown = make("p", "", "warning");
    shown.append(make("strong", error.message), ` ${error.hint || ""}`);
    problem.replaceChildren(shown);
  };

  const take = value => {
    if ("label" in value) return show(value);
    if (value.error) fail(value.error);
    if ("answered" in value) said.textContent = `${value.answered} of ${value.asked} answered in ${value.seconds.toFixed(2)} s.`;
  };

  const read = async answer => {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ;) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n");
      rest = parts.pop();
      for (const part of parts) take(JSON.parse(part));
    }
  };

  form.addEventListener("submit", async event => {
    event.preventDefault();
    if (under || !lines()) return;
    under = new AbortController();
    send.disabled = true;
    stop.hidden = false;
    rows.replaceChildren();
    problem.replaceChildren();
    results.hidden = true;
    said.textContent = `Waiting for ${lines()} answers.`;
    try {
      const answer = await fetch(form.action, {
        method: "POST",
        body: new URLSearchParams(new FormData(form)),
        headers: { Accept: "application/x-ndjson" },
        signal: under.signal,
      });
      if (!(answer.headers.get("content-type") || "").startsWith("application/x-ndjson")) {
        throw new Error(`The service answered with status ${answer.status}.`);
      }
      if (!answer.ok) said.textContent = "";
      await read(answer);
    } catch (error) {
      if (under.signal.aborted) said.textContent = `Stopped after ${rows.children.length} answers.`;
      else {
        said.textContent = "";
        fail({ message: "The service on this machine did not answer to the end.", hint: error.message });
      }
    } finally {
      under = null;
      send.disabled = false;
      stop.hidden = true;
      document.dispatchEvent(new Event("renew"));
    }
  });
  stop.addEventListener("click", () => under?.abort());
  field.addEventListener("input", count);
  count();
})();
