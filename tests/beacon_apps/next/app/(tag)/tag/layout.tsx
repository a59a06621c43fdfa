import type { ReactNode } from "react"
import Shop from "../../../parts/shop"

export default function Inner({ children }: { children: ReactNode }) {
  return <Shop base="/tag">{children}</Shop>
}
