// Renews the live part of a page every two seconds while somebody can see it.
"use strict";
(() => {
  const place = document.getElementById("status"), told = document.getElementById("live");
  const every = 2000;
  let shown = null, timer = null, asking = null;

  const say = text => { if (told.textContent !== text) told.textContent = text; };

  const show = text => {
    place.innerHTML = text;
    for (const part of place.querySelectorAll("[data-to]")) {
      const target = document.getElementById(part.dataset.to);
      part.remove();
      if (target.innerHTML !== part.innerHTML) target.innerHTML = part.innerHTML;
      target.hidden = !target.childElementCount;
    }
  };

  const renew = async () => {
    clearTimeout(timer);
    asking?.abort();
    const mine = asking = new AbortController();
    try {
      const answer = await fetch(place.dataset.url, { signal: mine.signal, credentials: "same-origin" });
      if (!answer.ok) throw new Error(String(answer.status));
      const text = await answer.text();
      if (mine !== asking) return;
      // The service escapes what it shows; an unchanged part keeps focus and selection.
      if (text !== shown) show(shown = text);
      say("Updated every two seconds.");
    } catch (error) {
      if (mine.signal.aborted) return;
      say(told.dataset.off);
    }
    if (!document.hidden) timer = setTimeout(renew, every);
  };

  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (document.hidden) asking?.abort(); else renew();
  });
  document.addEventListener("renew", renew);
  if (!document.hidden) renew();
})();
