.PHONY: test
test: ## everything that can be tested
	cargo test --workspace
