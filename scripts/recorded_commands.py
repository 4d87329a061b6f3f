"""Commands of `record_behaviour.py` with all their settings; short trainings, and what is done with their models."""

from __future__ import annotations

CPU = "seed=0 threads=1 trainer.accelerator=cpu trainer.precision=32-true +trainer.log_every_n_steps=1 samples=0"
CROSS_ENTROPY = "objective=teacher_forcing objective.label_smoothing"
SCENES = "data=scenes data.train.size=400 data.val.size=24 data.num_workers=1 data.captions_per_image=3"
SCENES_IMAGE = "image.fit=crop image.augment=null image.cover=0.08"
SCENES_RUN = (
    f"{CPU} {SCENES} {SCENES_IMAGE} {CROSS_ENTROPY}=0 model.dropout=0 optim.lr=2e-3 "
    "optim.weight_decay=0.05 optim.warmup=0.05 data.batch_size=16 trainer.max_epochs=2"
)
SMALL = "model.decoder.dropout=0 model.decoder.max_length=32"
TRANSFORMER = (
    f"decoder=transformer model.decoder.dim=128 model.decoder.depth=3 model.decoder.num_heads=4 {SMALL} "
    "model.decoder.mlp_ratio=2.0 model.decoder.sentinel=true"
)
LSTM = f"decoder=lstm model.decoder.dim=128 {SMALL}"
FLICKR = "data=flickr8k data.root={inputs}/flickr8k"
AUGMENT = "image.augment={scale: [0.6, 1.0], ratio: [0.85, 1.18], jitter: 0.2, flip: 0.5}".replace(" ", "")
FLICKR_RUN = (
    f"{CPU} {FLICKR} {CROSS_ENTROPY}=0.1 tokenizer.min_count=2 image.fit=squash {AUGMENT} model.dropout=0.3 "
    "optim.lr=3e-3 optim.weight_decay=0.1 optim.warmup=0.05 data.batch_size=16 data.num_workers=1 "
    "data.captions_per_image=2 trainer.max_epochs=5 trainer.check_val_every_n_epoch=5 decoder=transformer "
    "model.decoder.dim=128 model.decoder.depth=2 model.decoder.num_heads=4 model.decoder.dropout=0.1 "
    "model.decoder.max_length=24 encoder=mobilenetv2 +encoder.model_args.pad_type=same "
    "encoder.weights={data}/encoders/mobilenetv2_100_imagenet.safetensors encoder.mean=[0.5,0.5,0.5] "
    "encoder.std=[0.5,0.5,0.5]"
)
FEATURES = "cache=features cache.views=2 cache.folder={work}/features"
FURTHER = (
    f"{CPU} optim.lr=1e-4 optim.weight_decay=0 optim.warmup=0.05 trainer.max_epochs=1 data.batch_size=16"
)
TRAIN = {
    "scenes-transformer": f"{SCENES_RUN} {TRANSFORMER} encoder=tiny",
    "scenes-lstm": f"{SCENES_RUN} {LSTM} encoder=tiny",
    "scenes-lstm-sparse": f"{SCENES_RUN} {LSTM} encoder=tiny data.train.size=160 trainer.max_epochs=1 "
    "model.decoder.normaliser=sparsemax model.decoder.sentinel=true objective.doubly_stochastic=1",
    "scenes-lstm-hard": f"{SCENES_RUN} {LSTM} encoder=tiny data.train.size=160 trainer.max_epochs=1 "
    "model.decoder.hard=true",
    "scenes-vit": f"{SCENES_RUN} {TRANSFORMER} data.train.size=160 encoder=timm encoder.name=vit_tiny_patch16_224 "
    "encoder.image_size=[96,96] encoder.trainable=all model.image_depth=1 "
    "model.decoder.normaliser=entmax15 model.decoder.positions=rotary model.decoder.num_kv_heads=2 "
    "model.decoder.self_attention_first=true objective.image_attention_penalty=0.05 ema=0.9 optim.lr=5e-4 "
    "objective.attention_supervision=0.2 objective.scheduled_sampling=0.25 objective.z_loss=1e-4",
    "flickr-photos": f"{FLICKR_RUN} encoder.image_size=[160,160] encoder.finer=[3]",
    "flickr-features": f"{FLICKR_RUN} {FEATURES} encoder.image_size=[224,224] encoder.finer=[2,3]",
}
TRAIN_FURTHER = {
    "scenes-self-critical": f"{FURTHER} {SCENES} {SCENES_IMAGE} data.train.size=160 objective=self_critical "
    "init_from={work}/scenes-transformer/model.safetensors",
    "scenes-mixed": f"{FURTHER} {SCENES} {SCENES_IMAGE} data.train.size=80 objective=mixed "
    "objective.self_critical.samples=3 objective.teacher_forcing.label_smoothing=0.1 "
    "init_from={work}/scenes-lstm/model.safetensors",
    "flickr-self-critical": f"{FURTHER} {FLICKR} {FEATURES} {AUGMENT} data.num_workers=1 objective=self_critical "
    "objective.kl=0.1 objective.baseline=greedy objective.reward.BLEU-4=0.5 ema=0.998 "
    "init_from={work}/flickr-features/model.safetensors",
}
EVALUATE = {
    "scenes-transformer": f"{SCENES} split=val grounding=true faithfulness=true faithfulness_images=6 "
    "keep_best_head=true explain=attention,occlusion",
    "scenes-lstm": f"{SCENES} split=val decoding=greedy metrics=[BLEU,CIDEr]",
    "flickr-photos": f"{FLICKR} split=val",
}
SEARCHES = {
    "beam": "decoding=beam",
    "tidy": "decoding=beam constraints=tidy beam_size=5",
    "greedy": "decoding=greedy",
    "sample": "decoding=sample decoding.samples=3 decoding.seed=1",
    "diverse_beam": "decoding=diverse_beam beam_size=6",
    "contrastive": "decoding=contrastive",
    "mbr": "decoding=mbr",
    "bulk": "bulk=true part_size=4",
}
PREDICT = {
    **{f"scenes-transformer {name}": f"images={{inputs}}/scenes {text}" for name, text in SEARCHES.items()},
    **{f"flickr-features {name}": f"images={{inputs}}/photos {text}" for name, text in SEARCHES.items()},
    "scenes-transformer ensemble": "images={inputs}/scenes ensemble={work}/scenes-lstm/model.safetensors",
    "flickr-features ensemble": "images={inputs}/photos ensemble={work}/flickr-photos/model.safetensors average=probs",
}
CHOICES = "attention,attention:max,attention:layer1,attention:layer2.head2,gradient_attention,grad_cam"
EXPLAIN = {
    "scenes-transformer": f"images={{inputs}}/scenes explain={CHOICES},attention:best,occlusion,occlusion:4x4,"
    "integrated_gradients",
    "scenes-lstm": "images={inputs}/scenes explain=all",
    "scenes-lstm-sparse": "images={inputs}/scenes explain=attention",
    "scenes-lstm-hard": "images={inputs}/scenes explain=attention",
    "scenes-vit": "images={inputs}/scenes explain=all",
    "flickr-features": f"images={{inputs}}/few explain={CHOICES},integrated_gradients:4,occlusion:3x3",
}
DRAWN = "images={inputs}/few overlay=html,png,words,gif,webp,svg explain=attention,grad_cam"
CONFIGS = [
    f"data={data} {decoder} {objective}"
    for data in ("scenes", "flickr8k data.root=x", "coco data.root=x", "folder data.root=x")
    for decoder in ("", "decoder=lstm", "encoder=tiny")
    for objective in ("", "objective=self_critical", "objective=mixed")
]
