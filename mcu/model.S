@ The model's .pte, as it is, in flash. SCONCE_MODEL is its path.
  .section .model, "a"
  .balign 16
  .global sconce_model
  .global sconce_model_end
sconce_model:
  .incbin SCONCE_MODEL
sconce_model_end:
