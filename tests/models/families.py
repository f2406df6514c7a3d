"""Small models of many architectures of the `transformers` package: name -> case.

They ask whether the compiler knows what real exporters emit: a row is a family, its classes, what makes it
small, and which inputs it takes. Random weights; sizes are unlike each other on purpose.
"""

import torch

from catalog import Case, randomise

SHARED = ("randomise", "build", "inputs_for")

TEXT = dict(vocab_size=99, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
            max_position_embeddings=64, use_cache=False, pad_token_id=0, bos_token_id=1, eos_token_id=2)
GROUPED = dict(TEXT, num_key_value_heads=2, head_dim=8)
GPT = dict(vocab_size=99, n_embd=32, n_layer=2, n_head=4, n_positions=64, n_ctx=64, use_cache=False,
           bos_token_id=1, eos_token_id=2)
PAIR = dict(vocab_size=99, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
            decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=64,
            use_cache=False, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=2)
T5 = dict(vocab_size=99, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_decoder_layers=2, num_heads=4,
          use_cache=False, pad_token_id=0, decoder_start_token_id=0)
VISION = dict(image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
              intermediate_size=48, num_labels=7)
SPEECH = dict(vocab_size=33, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
              conv_dim=[16, 16, 16], conv_kernel=[10, 3, 2], conv_stride=[5, 2, 2], num_feat_extract_layers=3,
              num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2)
EXPERTS = dict(GROUPED, num_local_experts=4, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24)

# name: configuration, model, what it is made from, inputs
ROWS = {
    # text, encoders
    "bert_mlm": ("BertConfig", "BertForMaskedLM", TEXT, "masked"),
    "roberta": ("RobertaConfig", "RobertaForSequenceClassification", dict(TEXT, num_labels=3), "masked"),
    "distilbert": ("DistilBertConfig", "DistilBertForTokenClassification",
                   dict(vocab_size=99, dim=32, n_layers=2, n_heads=4, hidden_dim=48, max_position_embeddings=64), "masked"),
    "albert": ("AlbertConfig", "AlbertModel", dict(TEXT, embedding_size=16), "masked"),
    "electra": ("ElectraConfig", "ElectraModel", dict(TEXT, embedding_size=16), "masked"),
    "mpnet": ("MPNetConfig", "MPNetModel", TEXT, "masked"),
    "deberta_v2": ("DebertaV2Config", "DebertaV2Model",
                   dict(TEXT, relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=8,
                        norm_rel_ebd="layer_norm", share_att_key=True), "masked"),
    "deberta": ("DebertaConfig", "DebertaModel", dict(TEXT, relative_attention=True, pos_att_type=["p2c", "c2p"]), "masked"),
    "mobilebert": ("MobileBertConfig", "MobileBertModel",
                   dict(TEXT, embedding_size=16, intra_bottleneck_size=16, true_hidden_size=16), "masked"),
    "squeezebert": ("SqueezeBertConfig", "SqueezeBertModel", dict(TEXT, embedding_size=32, q_groups=2, k_groups=2,
                                                                   v_groups=2, post_attention_groups=1, intermediate_groups=2,
                                                                   output_groups=2), "masked"),
    "modernbert": ("ModernBertConfig", "ModernBertForMaskedLM", dict(TEXT, global_attn_every_n_layers=2, local_attention=8), "masked"),
    "fnet": ("FNetConfig", "FNetModel", dict(TEXT, use_tpu_fourier_optimizations=False), "text"),
    "roformer": ("RoFormerConfig", "RoFormerModel", dict(TEXT, embedding_size=32), "masked"),
    "layoutlm": ("LayoutLMConfig", "LayoutLMModel", TEXT, "masked"),
    "esm": ("EsmConfig", "EsmModel", dict(TEXT, position_embedding_type="rotary", mask_token_id=3), "masked"),
    "rembert": ("RemBertConfig", "RemBertModel", dict(TEXT, input_embedding_size=16, output_embedding_size=16), "masked"),
    "xlm_roberta_xl": ("XLMRobertaXLConfig", "XLMRobertaXLModel", TEXT, "masked"),
    "ibert": ("IBertConfig", "IBertModel", TEXT, "masked"),
    "convbert": ("ConvBertConfig", "ConvBertModel", dict(TEXT, embedding_size=32, head_ratio=2, conv_kernel_size=5), "masked"),
    "funnel": ("FunnelConfig", "FunnelModel", dict(vocab_size=99, block_sizes=[1, 2], d_model=32, n_head=4, d_head=8,
                                                    d_inner=48, num_decoder_layers=1), "masked"),
    "big_bird": ("BigBirdConfig", "BigBirdModel", dict(TEXT, attention_type="original_full"), "masked"),
    "megatron_bert": ("MegatronBertConfig", "MegatronBertModel", TEXT, "masked"),
    "splinter": ("SplinterConfig", "SplinterModel", TEXT, "masked"),
    "xlm": ("XLMConfig", "XLMModel", dict(vocab_size=99, emb_dim=32, n_layers=2, n_heads=4, max_position_embeddings=64), "masked"),
    "flaubert": ("FlaubertConfig", "FlaubertModel", dict(vocab_size=99, emb_dim=32, n_layers=2, n_heads=4, max_position_embeddings=64), "masked"),
    "yoso": ("YosoConfig", "YosoModel", dict(TEXT, use_expectation=True), "masked"),
    "canine": ("CanineConfig", "CanineModel", dict(TEXT, local_transformer_stride=4, downsampling_rate=4, num_hash_buckets=50), "masked"),
    "markuplm": ("MarkupLMConfig", "MarkupLMModel", dict(TEXT, xpath_unit_hidden_size=4, max_depth=6), "masked"),
    # text, decoders
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", GPT, "text"),
    "gpt_neo": ("GPTNeoConfig", "GPTNeoForCausalLM",
                dict(TEXT, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]], window_size=5), "text"),
    "gpt_neox": ("GPTNeoXConfig", "GPTNeoXForCausalLM", TEXT, "masked"),
    "gptj": ("GPTJConfig", "GPTJForCausalLM", dict(GPT, rotary_dim=4), "text"),
    "codegen": ("CodeGenConfig", "CodeGenForCausalLM", dict(GPT, rotary_dim=4), "text"),
    "bloom": ("BloomConfig", "BloomForCausalLM", dict(TEXT, n_layer=2, n_head=4), "masked"),
    "llama": ("LlamaConfig", "LlamaForCausalLM", GROUPED, "text"),
    "mistral_window": ("MistralConfig", "MistralForCausalLM", dict(GROUPED, sliding_window=5), "masked"),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", GROUPED, "text"),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", GROUPED, "text"),
    "gemma": ("GemmaConfig", "GemmaForCausalLM", GROUPED, "text"),
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM", dict(GROUPED, sliding_window=5, query_pre_attn_scalar=8), "text"),
    "gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM", dict(GROUPED, sliding_window=5, query_pre_attn_scalar=8), "text"),
    "phi": ("PhiConfig", "PhiForCausalLM", dict(TEXT, partial_rotary_factor=0.5), "text"),
    "phi3": ("Phi3Config", "Phi3ForCausalLM", dict(GROUPED, sliding_window=6), "text"),
    "stablelm": ("StableLmConfig", "StableLmForCausalLM", GROUPED, "text"),
    "olmo2": ("Olmo2Config", "Olmo2ForCausalLM", GROUPED, "text"),
    "cohere": ("CohereConfig", "CohereForCausalLM", GROUPED, "text"),
    "granite": ("GraniteConfig", "GraniteForCausalLM", GROUPED, "text"),
    "starcoder2": ("Starcoder2Config", "Starcoder2ForCausalLM", GROUPED, "text"),
    "falcon": ("FalconConfig", "FalconForCausalLM", dict(TEXT, new_decoder_architecture=False, multi_query=True), "text"),
    "mpt": ("MptConfig", "MptForCausalLM", dict(vocab_size=99, d_model=32, n_heads=4, n_layers=2, max_seq_len=64, use_cache=False), "text"),
    "smollm3": ("SmolLM3Config", "SmolLM3ForCausalLM", GROUPED, "text"),
    "glm4": ("Glm4Config", "Glm4ForCausalLM", GROUPED, "text"),
    "nemotron": ("NemotronConfig", "NemotronForCausalLM", GROUPED, "text"),
    "persimmon": ("PersimmonConfig", "PersimmonForCausalLM", TEXT, "text"),
    "xglm": ("XGLMConfig", "XGLMForCausalLM", dict(vocab_size=99, d_model=32, num_layers=2, attention_heads=4, ffn_dim=48,
                                                   max_position_embeddings=64, use_cache=False), "text"),
    "biogpt": ("BioGptConfig", "BioGptForCausalLM", TEXT, "text"),
    "ctrl": ("CTRLConfig", "CTRLLMHeadModel", dict(GPT, dff=48), "text"),
    "openai_gpt": ("OpenAIGPTConfig", "OpenAIGPTLMHeadModel", GPT, "text"),
    "xlnet": ("XLNetConfig", "XLNetModel", dict(vocab_size=99, d_model=32, n_layer=2, n_head=4, d_inner=48, use_mems_eval=False), "text"),
    "mamba": ("MambaConfig", "MambaModel", dict(vocab_size=99, hidden_size=16, state_size=4, num_hidden_layers=2, use_cache=False), "text"),
    "mamba2": ("Mamba2Config", "Mamba2Model", dict(vocab_size=99, hidden_size=16, state_size=4, num_hidden_layers=2, num_heads=4,
                                                   head_dim=8, n_groups=2, expand=2, chunk_size=6, use_cache=False), "text"),
    "rwkv": ("RwkvConfig", "RwkvModel", dict(vocab_size=99, hidden_size=16, num_hidden_layers=2, context_length=16, use_cache=False), "text"),
    "recurrent_gemma": ("RecurrentGemmaConfig", "RecurrentGemmaForCausalLM",
                        dict(GROUPED, lru_width=32, attention_window_size=6, num_hidden_layers=3), "text"),
    "mixtral": ("MixtralConfig", "MixtralForCausalLM", EXPERTS, "text"),
    "qwen3_moe": ("Qwen3MoeConfig", "Qwen3MoeForCausalLM", EXPERTS, "text"),
    "olmoe": ("OlmoeConfig", "OlmoeForCausalLM", EXPERTS, "text"),
    "gpt_oss": ("GptOssConfig", "GptOssForCausalLM", dict(EXPERTS, sliding_window=5), "text"),
    "deepseek_v3": ("DeepseekV3Config", "DeepseekV3ForCausalLM",
                    dict(TEXT, num_key_value_heads=4, n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=24,
                         n_group=2, topk_group=1, q_lora_rank=12, kv_lora_rank=12, qk_rope_head_dim=4, qk_nope_head_dim=8,
                         v_head_dim=8, first_k_dense_replace=1), "text"),
    "jetmoe": ("JetMoeConfig", "JetMoeForCausalLM", dict(EXPERTS, kv_channels=8, num_key_value_heads=2), "text"),
    "exaone4": ("Exaone4Config", "Exaone4ForCausalLM", dict(GROUPED, sliding_window=5), "text"),
    "ernie4_5": ("Ernie4_5Config", "Ernie4_5ForCausalLM", GROUPED, "text"),
    "seed_oss": ("SeedOssConfig", "SeedOssForCausalLM", GROUPED, "text"),
    "helium": ("HeliumConfig", "HeliumForCausalLM", GROUPED, "text"),
    "diffllama": ("DiffLlamaConfig", "DiffLlamaForCausalLM", dict(GROUPED, num_key_value_heads=4), "text"),
    "arcee": ("ArceeConfig", "ArceeForCausalLM", GROUPED, "text"),
    "bitnet": ("BitNetConfig", "BitNetForCausalLM", GROUPED, "text"),
    "apertus": ("ApertusConfig", "ApertusForCausalLM", GROUPED, "text"),
    "lfm2": ("Lfm2Config", "Lfm2ForCausalLM", dict(GROUPED, layer_types=["conv", "full_attention"], block_ff_dim=48), "text"),
    "qwen3_next": ("Qwen3NextConfig", "Qwen3NextForCausalLM",
                   dict(EXPERTS, layer_types=["linear_attention", "full_attention"], linear_num_key_heads=2, linear_num_value_heads=4,
                        linear_key_head_dim=8, linear_value_head_dim=8, shared_expert_intermediate_size=24), "text"),
    "falcon_h1": ("FalconH1Config", "FalconH1ForCausalLM", dict(GROUPED, mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_n_groups=1,
                                                                mamba_d_state=4, mamba_chunk_size=6), "text"),
    "jamba": ("JambaConfig", "JambaForCausalLM", dict(EXPERTS, attn_layer_period=2, attn_layer_offset=1, expert_layer_period=2,
                                                      expert_layer_offset=1, mamba_d_state=4, use_mamba_kernels=False), "text"),
    "deepseek_v2": ("DeepseekV2Config", "DeepseekV2ForCausalLM",
                    dict(TEXT, num_key_value_heads=4, n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=24, n_group=2,
                         topk_group=1, topk_method="greedy", q_lora_rank=12, kv_lora_rank=12, qk_rope_head_dim=4, qk_nope_head_dim=8, v_head_dim=8,
                         head_dim=4, first_k_dense_replace=1), "text"),
    "minimax": ("MiniMaxConfig", "MiniMaxForCausalLM", dict(EXPERTS, block_size=4, layer_types=["linear_attention", "full_attention"]), "text"),
    "phimoe": ("PhimoeConfig", "PhimoeForCausalLM", EXPERTS, "text"),
    "xlstm": ("xLSTMConfig", "xLSTMForCausalLM", dict(vocab_size=99, hidden_size=32, num_hidden_layers=2, num_heads=4, chunk_size=4, use_cache=False,
                                                      qk_dim_factor=0.5, v_dim_factor=1.0), "text"),
    # text to text
    "t5": ("T5Config", "T5ForConditionalGeneration", T5, "pair"),
    "t5_gated": ("T5Config", "T5ForConditionalGeneration", dict(T5, feed_forward_proj="gated-gelu"), "pair"),
    "t5_encoder": ("T5Config", "T5EncoderModel", T5, "masked"),
    "longt5": ("LongT5Config", "LongT5Model", dict(T5, local_radius=4, encoder_attention_type="local"), "pair"),
    "bart": ("BartConfig", "BartForConditionalGeneration", PAIR, "pair"),
    "mbart": ("MBartConfig", "MBartModel", PAIR, "pair"),
    "marian": ("MarianConfig", "MarianMTModel", PAIR, "pair"),
    "pegasus": ("PegasusConfig", "PegasusModel", PAIR, "pair"),
    "m2m_100": ("M2M100Config", "M2M100Model", PAIR, "pair"),
    "prophetnet": ("ProphetNetConfig", "ProphetNetModel",
                   dict(vocab_size=99, hidden_size=32, num_encoder_layers=1, num_decoder_layers=1, num_encoder_attention_heads=4,
                        num_decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=64, ngram=2,
                        use_cache=False), "pair"),
    # pictures
    "vit": ("ViTConfig", "ViTForImageClassification", VISION, "image"),
    "beit": ("BeitConfig", "BeitForImageClassification", dict(VISION, use_relative_position_bias=True), "image"),
    "dinov2": ("Dinov2Config", "Dinov2Model", dict(VISION, num_hidden_layers=2), "image"),
    "dinov2_registers": ("Dinov2WithRegistersConfig", "Dinov2WithRegistersModel", VISION, "image"),
    "siglip_vision": ("SiglipVisionConfig", "SiglipVisionModel", VISION, "image"),
    "clip_vision": ("CLIPVisionConfig", "CLIPVisionModelWithProjection", dict(VISION, projection_dim=16), "image"),
    "clip_text": ("CLIPTextConfig", "CLIPTextModelWithProjection", dict(TEXT, projection_dim=16), "text"),
    "swin": ("SwinConfig", "SwinForImageClassification",
             dict(image_size=32, patch_size=4, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4, num_labels=7), "image"),
    "swinv2": ("Swinv2Config", "Swinv2Model",
               dict(image_size=32, patch_size=4, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4), "image"),
    "swin2sr": ("Swin2SRConfig", "Swin2SRForImageSuperResolution",
                dict(image_size=16, patch_size=1, embed_dim=12, depths=[2], num_heads=[2], window_size=4, upscale=2), "image16"),
    "convnext": ("ConvNextConfig", "ConvNextForImageClassification",
                 dict(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 2, 1], num_labels=7, image_size=64), "image64"),
    "convnextv2": ("ConvNextV2Config", "ConvNextV2Model", dict(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 2, 1], image_size=64), "image64"),
    "efficientnet": ("EfficientNetConfig", "EfficientNetForImageClassification",
                     dict(image_size=64, width_coefficient=0.25, depth_coefficient=0.3, num_labels=7, hidden_dim=320), "image64"),
    "mobilenet_v1": ("MobileNetV1Config", "MobileNetV1ForImageClassification", dict(depth_multiplier=0.25, image_size=64, num_labels=7), "image64"),
    "mobilevit": ("MobileViTConfig", "MobileViTForImageClassification",
                  dict(image_size=64, hidden_sizes=[16, 20, 24], neck_hidden_sizes=[8, 8, 12, 16, 20, 24, 32], num_labels=7), "image64"),
    "mobilevitv2": ("MobileViTV2Config", "MobileViTV2ForImageClassification", dict(image_size=64, width_multiplier=0.25, num_labels=7), "image64"),
    "regnet": ("RegNetConfig", "RegNetForImageClassification",
               dict(embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], groups_width=4, num_labels=7), "image64"),
    "bit": ("BitConfig", "BitForImageClassification", dict(embedding_size=16, hidden_sizes=[32, 64], depths=[1, 1], num_groups=4, num_labels=7), "image64"),
    "levit": ("LevitConfig", "LevitForImageClassification",
              dict(image_size=64, hidden_sizes=[16, 24, 32], num_attention_heads=[2, 2, 2], depths=[1, 1, 1], key_dim=[8, 8, 8], num_labels=7), "image64"),
    "poolformer": ("PoolFormerConfig", "PoolFormerForImageClassification",
                   dict(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], num_labels=7), "image64"),
    "segformer": ("SegformerConfig", "SegformerForSemanticSegmentation",
                  dict(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 3, 4], decoder_hidden_size=16, num_labels=7), "image64"),
    "pvt": ("PvtConfig", "PvtForImageClassification",
            dict(image_size=64, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 3, 4], num_labels=7), "image64"),
    "cvt": ("CvtConfig", "CvtForImageClassification", dict(embed_dim=[16, 24, 32], num_heads=[1, 2, 4], depth=[1, 2, 3], num_labels=7), "image64"),
    "focalnet": ("FocalNetConfig", "FocalNetForImageClassification", dict(image_size=32, patch_size=4, embed_dim=16, depths=[1, 1], hidden_sizes=[16, 32],
                                                                        focal_levels=[2, 2], focal_windows=[3, 3], num_labels=7), "image"),
    "hiera": ("HieraConfig", "HieraModel", dict(image_size=[64, 64], embed_dim=16, depths=[1, 1, 1], num_heads=[1, 2, 4], embed_dim_multiplier=2.0,
                                                 num_query_pool=2, masked_unit_size=[8, 8]), "image64"),
    "ijepa": ("IJepaConfig", "IJepaModel", VISION, "image"),
    "dpt": ("DPTConfig", "DPTForDepthEstimation",
            dict(VISION, backbone_out_indices=[0, 1, 2, 3], num_hidden_layers=4, neck_hidden_sizes=[8, 8, 16, 16], fusion_hidden_size=16,
                 reassemble_factors=[4, 2, 1, 0.5], is_hybrid=False), "image"),
    "glpn": ("GLPNConfig", "GLPNForDepthEstimation",
             dict(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 3, 4], decoder_hidden_size=16), "image64"),
    "yolos": ("YolosConfig", "YolosForObjectDetection", dict(VISION, image_size=[32, 32], num_detection_tokens=5), "image"),
    "hgnet_v2": ("HGNetV2Config", "HGNetV2ForImageClassification", dict(num_labels=7, embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1],
                              stem_channels=[3, 8, 16], stage_in_channels=[16, 16], stage_mid_channels=[8, 8], stage_out_channels=[16, 32],
                              stage_num_blocks=[1, 1], stage_downsample=[False, True], stage_light_block=[False, True], stage_kernel_size=[3, 5],
                              stage_numb_of_layers=[2, 2]), "image64"),
    "videomae": ("VideoMAEConfig", "VideoMAEForVideoClassification", dict(VISION, num_frames=4, tubelet_size=2, use_mean_pooling=True), "video"),
    "timesformer": ("TimesformerConfig", "TimesformerModel", dict(VISION, num_frames=4), "video"),
    "dinov3": ("DINOv3ViTConfig", "DINOv3ViTModel", VISION, "image"),
    "pvt_v2": ("PvtV2Config", "PvtV2Model", dict(image_size=64, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 3, 4]), "image64"),
    "swiftformer": ("SwiftFormerConfig", "SwiftFormerModel", dict(image_size=64, embed_dims=[8, 16, 24, 32], depths=[1, 1, 1, 1]), "image64"),
    "donut": ("DonutSwinConfig", "DonutSwinModel", dict(image_size=32, patch_size=4, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4), "image"),
    "textnet": ("TextNetConfig", "TextNetForImageClassification", dict(num_labels=7), "image64"),
    "vitpose": ("VitPoseBackboneConfig", "VitPoseBackbone", dict(VISION, image_size=[32, 32], patch_size=[8, 8]), "image"),
    "depth_anything": ("DepthAnythingConfig", "DepthAnythingForDepthEstimation", "depth_anything", "image56"),
    "upernet": ("UperNetConfig", "UperNetForSemanticSegmentation", "upernet", "image64"),
    "sam_vision": ("SamVisionConfig", "SamVisionModel", dict(VISION, window_size=2, global_attn_indexes=[1], output_channels=16, mlp_dim=48), "image"),
    "vivit": ("VivitConfig", "VivitModel", dict(VISION, num_frames=4, tubelet_size=[2, 8, 8]), "video"),
    "superpoint": ("SuperPointConfig", "SuperPointForKeypointDetection", dict(encoder_hidden_sizes=[8, 8, 8, 8], decoder_hidden_size=16, descriptor_decoder_dim=16), "image64"),
    # sound
    "wav2vec2_conformer": ("Wav2Vec2ConformerConfig", "Wav2Vec2ConformerModel", dict(SPEECH, position_embeddings_type="rotary"), "wave"),
    "unispeech_sat": ("UniSpeechSatConfig", "UniSpeechSatModel", SPEECH, "wave"),
    "data2vec_audio": ("Data2VecAudioConfig", "Data2VecAudioModel", SPEECH, "wave"),
    "speecht5_vocoder": ("SpeechT5HifiGanConfig", "SpeechT5HifiGan", dict(model_in_dim=16, upsample_initial_channel=16, upsample_rates=[2, 2],
                                                                         upsample_kernel_sizes=[4, 4]), "vocoder"),
    "dac": ("DacConfig", "DacModel", dict(encoder_hidden_size=8, downsampling_ratios=[2, 2], decoder_hidden_size=16, n_codebooks=2, codebook_size=16,
                                           codebook_dim=4, upsampling_ratios=[2, 2]), "waveform"),
    "wav2vec2": ("Wav2Vec2Config", "Wav2Vec2ForCTC", SPEECH, "wave"),
    "wav2vec2_stable": ("Wav2Vec2Config", "Wav2Vec2Model", dict(SPEECH, do_stable_layer_norm=True, feat_extract_norm="layer"), "wave"),
    "hubert": ("HubertConfig", "HubertModel", SPEECH, "wave"),
    "wavlm": ("WavLMConfig", "WavLMModel", SPEECH, "wave"),
    "sew": ("SEWConfig", "SEWModel", dict(SPEECH, squeeze_factor=2), "wave"),
    "whisper": ("WhisperConfig", "WhisperForConditionalGeneration", dict(PAIR, num_mel_bins=16, max_source_positions=20, max_target_positions=16,
                                                                         begin_suppress_tokens=None, suppress_tokens=None), "mel"),
    "speech_to_text": ("Speech2TextConfig", "Speech2TextModel", dict(PAIR, input_feat_per_channel=16, input_channels=1, max_source_positions=64,
                                                                     max_target_positions=16, conv_channels=32), "features"),
    "audio_spectrogram": ("ASTConfig", "ASTForAudioClassification", dict(VISION, num_mel_bins=16, max_length=24, frequency_stride=8, time_stride=8), "spectrogram"),
    # series, tables, several inputs
    "patchtst": ("PatchTSTConfig", "PatchTSTForPrediction", dict(num_input_channels=2, context_length=16, patch_length=4, patch_stride=4, d_model=16,
                                                                 num_hidden_layers=2, num_attention_heads=2, ffn_dim=24, prediction_length=5), "series"),
    "patchtsmixer": ("PatchTSMixerConfig", "PatchTSMixerForPrediction", dict(num_input_channels=2, context_length=16, patch_length=4, patch_stride=4,
                                                                             d_model=16, num_layers=2, prediction_length=5), "series"),
    "decision_transformer": ("DecisionTransformerConfig", "DecisionTransformerModel", dict(GPT, hidden_size=32, state_dim=5, act_dim=3, max_ep_len=20), "decision"),
    "clip": ("CLIPConfig", "CLIPModel", "clip", "text_image"),
}


def inputs_for(kind: str, config) -> dict:
    def tokens(n: int) -> torch.Tensor:
        return torch.randint(3, 90, (1, n))

    mask = torch.ones(1, 12, dtype=torch.long)
    mask[0, 9:] = 0
    image = {"image": 32, "image16": 16, "image56": 56, "image64": 64}
    if kind in image:
        return {"pixel_values": torch.randn(1, 3, image[kind], image[kind])}
    return {
        "text": lambda: {"input_ids": tokens(12)},
        "masked": lambda: {"input_ids": tokens(12), "attention_mask": mask},
        "pair": lambda: {"input_ids": tokens(12), "attention_mask": mask, "decoder_input_ids": tokens(7)},
        "video": lambda: {"pixel_values": torch.randn(1, 4, 3, 32, 32)},
        "wave": lambda: {"input_values": torch.randn(1, 1600)},
        "waveform": lambda: {"input_values": torch.randn(1, 1, 400)},
        "vocoder": lambda: {"spectrogram": torch.randn(1, 9, 16)},
        "mel": lambda: {"input_features": torch.randn(1, 16, 40), "decoder_input_ids": tokens(5)},
        "features": lambda: {"input_features": torch.randn(1, 24, 16), "decoder_input_ids": tokens(5)},
        "spectrogram": lambda: {"input_values": torch.randn(1, 24, 16)},
        "series": lambda: {"past_values": torch.randn(1, 16, 2)},
        "decision": lambda: {"states": torch.randn(1, 4, 5), "actions": torch.randn(1, 4, 3), "rewards": torch.randn(1, 4, 1),
                             "returns_to_go": torch.randn(1, 4, 1), "timesteps": torch.arange(4)[None],
                             "attention_mask": torch.ones(1, 4, dtype=torch.long)},
        "text_image": lambda: {"input_ids": tokens(12), "attention_mask": mask, "pixel_values": torch.randn(1, 3, 32, 32)},
    }[kind]()


def build(row) -> Case:
    import transformers

    config_name, model_name, settings, kind = row
    if settings == "clip":
        settings = {"text_config": dict(TEXT, projection_dim=16), "vision_config": dict(VISION, projection_dim=16), "projection_dim": 16}
    if settings == "depth_anything":
        backbone = transformers.Dinov2Config(**dict(VISION, patch_size=14, image_size=56, num_hidden_layers=4), out_indices=[1, 2, 3, 4],
                                             apply_layernorm=True, reshape_hidden_states=False)
        settings = dict(backbone_config=backbone, reassemble_hidden_size=32, patch_size=14, neck_hidden_sizes=[8, 8, 16, 16], fusion_hidden_size=16)
    if settings == "upernet":
        backbone = transformers.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], out_features=["stage1", "stage2", "stage3", "stage4"])
        settings = dict(backbone_config=backbone, hidden_size=16, auxiliary_in_channels=24, auxiliary_channels=8, num_labels=7)
    config = getattr(transformers, config_name)(**settings)
    config._attn_implementation = "sdpa"
    model = getattr(transformers, model_name)
    try:
        module = model(config)
    except ValueError:  # no such attention in this family
        config._attn_implementation = "eager"
        module = model(config)

    class Tensors(torch.nn.Module):
        """What the model answers, without the package's classes."""

        def __init__(self, model: torch.nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, kwargs: dict) -> list[torch.Tensor]:
            answer = self.model(**kwargs)
            if isinstance(answer, torch.Tensor):
                return [answer]
            return [t for t in torch.utils._pytree.tree_leaves(list(answer.values())) if isinstance(t, torch.Tensor)]

    return Case(Tensors(randomise(module)), (inputs_for(kind, config),))


def model_of(row):
    def make() -> Case:
        return build(row)

    make.row = row
    return make


MODELS = {f"family_{name}": model_of(row) for name, row in ROWS.items()}
