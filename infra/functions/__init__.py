"""What each function is made of: requirements, and the step that packages them. See infra/SERVERLESS.md."""
