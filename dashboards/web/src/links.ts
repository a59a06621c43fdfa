// Lets the links and forms of the page keep a choice that was made on it, as the server writes them for the new address.
// Links that make such a choice themselves have an attribute of its name.

export function keep(name: string, value: string): void {
  const links = `#board a:not([data-${name}], [download]), .periods a`;
  for (const link of document.querySelectorAll<HTMLAnchorElement>(links)) link.href = changed(link.href, name, value);
  for (const form of document.querySelectorAll<HTMLFormElement>(".narrow, .days")) {
    let field = form.querySelector<HTMLInputElement>(`[name=${name}]`);
    if (!value) {
      field?.remove();
      continue;
    }
    if (!field) {
      field = Object.assign(document.createElement("input"), { type: "hidden", name });
      form.append(field);
    }
    field.value = value;
  }
}

// An address with another value of a parameter, without the parameter if the value is "".
export function changed(href: string, name: string, value: string): string {
  const address = new URL(href);
  if (value) address.searchParams.set(name, value);
  else address.searchParams.delete(name);
  return address.href;
}
