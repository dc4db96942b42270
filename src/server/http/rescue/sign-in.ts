import { html } from "hono/html";
import { marks, page, submit, type Html } from "./page.ts";

/** For a visit without an identity. `continueAt`: it may have come from elsewhere, so that the cookie stayed behind. */
export function signInPage({ continueAt }: { readonly continueAt: string | null }): Html {
  return page(
    "Sign in",
    html`<h1>Sign in</h1>
      ${
        continueAt !== null &&
        html`<p>If you have been signed in here before:</p>
          <p><a class="tap button" href="${continueAt}">Continue</a></p>
          <p>Otherwise:</p>`
      }
      <form method="post" action="/rescue/login">
        <label for="credential">A one-time link (<code>npm run link</code> prints one), or a token</label>
        <input id="credential" name="credential" type="password" autocomplete="off" required />
        ${submit("Sign in", "main")}
      </form>
      <p>
        With nothing but SSH left: <code>ssh ACCOUNT@HYPERVISOR cycle</code>, with the server's key
        (BREAKGLASS_KEY_PATH).
      </p>`,
  );
}

/** What went wrong, why, and the way back. */
export function refusalPage(title: string, sentence: string): Html {
  return page(
    title,
    html`<h1>${marks.warning} ${title}</h1>
      <p role="alert">${sentence}</p>
      <p><a class="tap" href="/rescue">Back to all machines</a></p>`,
  );
}
