import { redirect } from "next/navigation"

const titles: Record<string, string> = { "": "Welcome", shoes: "All shoes", search: "Found", sale: "Our sale", old: "Old" }

type Given = { params: Promise<{ page?: string[] }> }

const titleOf = async ({ params }: Given) => titles[(await params).page?.[0] ?? ""]

/** What a `page.tsx` exports that is all pages behind `base`. */
export function pages(base: string) {
  return {
    generateStaticParams: () => Object.keys(titles).map((name) => ({ page: name ? [name] : [] })),
    generateMetadata: async (given: Given) => ({ title: await titleOf(given) }),
    Page: async (given: Given) => {
      const title = await titleOf(given)
      if (title === "Old") redirect(`${base}/sale`)
      return <h1>{title}</h1>
    },
  }
}
