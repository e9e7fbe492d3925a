// What this browser keeps.

/** localStorage, or nothing where a private window has none. */
export const settings = {
  get: (key) => {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  },
  set: (key, value) => {
    try {
      localStorage.setItem(key, value);
    } catch {
      /* private window */
    }
  },
};

export const author = () => settings.get("cfmr-author") ?? "";
