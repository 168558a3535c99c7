"""Controls that change the weights, through adapters that PEFT loads without us."""
