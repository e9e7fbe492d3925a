import { call } from "./api.js";

document.querySelector("#sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await call("POST", "/api/session", { body: { token: document.querySelector("#token").value } });
    const next = new URLSearchParams(location.search).get("next") ?? "/";
    const target = new URL(next, location.origin);
    location.replace(target.origin === location.origin ? target : "/");
  } catch (error) {
    document.querySelector("#wrong").textContent = error.message;
  }
});
