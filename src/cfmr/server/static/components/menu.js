// What every menu of the page does.

/** @param {HTMLDetailsElement} menu */
export function shut(menu) {
  menu.open = false;
  menu.querySelector("summary")?.focus();
}

/**
 * A menu closes with Escape.
 * @param {HTMLDetailsElement} menu
 */
export function closing(menu) {
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    event.stopPropagation();
    shut(menu);
  });
}

// It closes with a click elsewhere, too. The path is asked, since what was clicked may be gone by now.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (menu instanceof HTMLDetailsElement && !event.composedPath().includes(menu)) menu.open = false;
  }
});
