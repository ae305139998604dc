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
  const heading = document.getElementById("answer-title");
  document.title = heading ? `${heading.textContent} – GUIDE` : "GUIDE";
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const words = button.textContent;
  try {
    await navigator.clipboard.writeText(location.href);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Copy it from the address bar";
  }
  setTimeout(() => { button.textContent = words; }, 2500);
});
