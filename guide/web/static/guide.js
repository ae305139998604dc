// Small comforts; the page works without them.
"use strict";

// After an answer or an error arrives, move focus there: screen readers read it, phones scroll to it.
document.addEventListener("htmx:afterSettle", () => {
  const place =
    document.querySelector("[aria-invalid=true]") ||
    document.getElementById("summary") ||
    document.getElementById("answer-title");
  if (place) {
    place.focus({ preventScroll: true });
    place.scrollIntoView({ block: "center" });
  }
  const heading = document.getElementById("answer-title") || document.getElementById("so-far-title");
  document.title = heading ? `${heading.textContent} – GUIDE` : "GUIDE";
});

const field = (name) => document.getElementById(`f-${name}`);
const amount = (name) => Number(field(name).value.replace(",", "."));

// What the server works out from a form, while it is typed; examples never leave the browser then.
document.addEventListener("input", ({ target }) => {
  if (target.dataset.count) {
    target.removeAttribute("name");
    const bytes = new TextEncoder().encode(target.value.trim()).length;
    field(target.dataset.count).value = bytes ? Math.ceil(bytes / 4) : "";
    field(`${target.dataset.count}95`).value = "";
  } else if (target.id === "f-people" || target.id === "f-every") {
    const rate = amount("people") / amount("every");
    if (Number.isFinite(rate) && rate > 0) field("rps").value = Number(rate.toPrecision(3));
  }
});

// Buttons that need scripts are not there without them.
const unhide = () => document.querySelectorAll("[data-copy][hidden]").forEach((b) => { b.hidden = false; });
document.addEventListener("htmx:afterSettle", unhide);
unhide();

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const words = button.textContent;
  const place = document.querySelector(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(place.href || place.textContent);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select the text and copy it";
  }
  setTimeout(() => { button.textContent = words; }, 2500);
});
