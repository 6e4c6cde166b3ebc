// Enhancements only: every page works with this file blocked.
document.documentElement.classList.add("has-script");

document.addEventListener("change", (event) => {
  const control = event.target;
  if (control.matches("[data-submit-on-change]") || control.closest("form.filters")) {
    if (control.matches("select, input[type=checkbox], input[type=radio], input[type=date]")) {
      control.form.requestSubmit();
    }
  }
  if (control.matches("[data-select-all]")) {
    for (const box of control.closest("table, form").querySelectorAll("tbody input[type=checkbox]")) {
      box.checked = control.checked;
    }
  }
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.dataset.copied = "";
    button.querySelector("[role=status]").textContent = "Copied";
  }
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});
