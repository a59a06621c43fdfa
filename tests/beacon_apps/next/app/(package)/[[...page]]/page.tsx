import { pages } from "../../../parts/pages"

const { generateStaticParams, generateMetadata, Page } = pages("")
export { generateStaticParams, generateMetadata, Page as default }
