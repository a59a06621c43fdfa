import { pages } from "../../../../parts/pages"

const { generateStaticParams, generateMetadata, Page } = pages("/tag")
export { generateStaticParams, generateMetadata, Page as default }
