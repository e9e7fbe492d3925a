import { call } from "../lib/api.js";
import { $ } from "../lib/dom.js";

$("#sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await call("POST", "/api/session", { body: { token: $("#token").value } });
    const next = new URLSearchParams(location.search).get("next") ?? "/";
    const target = new URL(next, location.origin);
    location.replace(target.origin === location.origin ? target : "/");
  } catch (error) {
    $("#wrong").textContent = error.message;
  }
});
