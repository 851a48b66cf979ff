"""What `--help` shows of each command: one sentence, then examples."""

TRAIN = """Train a classifier with a spatial pooling from image-level labels.

Examples:

  wsl-train --data VOCdevkit/VOC2012 --out runs/gap --backbone resnet50
  wsl-train --data VOCdevkit/VOC2012 --out runs/weldon --pooling "weldon(k_max=0.2, k_min=0.2)" --freeze-backbone
  wsl-train --data VOCdevkit/VOC2012 --out runs/heads --pooling gap gmp "kmax(k=0.2)" --freeze-backbone
  wsl-train --data VOCdevkit/VOC2012 --out runs/puzzle --loss "bce + puzzle(alpha=4)" --augment hide-and-seek cutmix
  wsl-train --data others/ --from runs/gap --out runs/others
  wsl-train --data photos/ --val-split None --out runs/mine --loss cross-entropy
  wsl-train --data VOCdevkit/VOC2012 --out runs/gap --backbone resnet50 --resume
  wsl-train --data VOCdevkit/VOC2012 --out runs/boxes --backbone resnet50 --freeze-backbone --decode
  wsl-train --data VOCdevkit/VOC2012 --out runs/fitted --backbone resnet50 --freeze-backbone --optimizer lbfgs --probe
  wsl-train --data VOCdevkit/VOC2012 --out runs/gap --backbone resnet50 --find-lr
  wsl-train --decoder runs/gap
  wsl-train --detector runs/boxes
"""
LOCALIZE = """Find the things in images: class scores, boxes and heatmaps.

Examples:

  wsl-localize photo.jpg --weights resnet50 --out found
  wsl-localize photos/ --weights timm/vit_base_patch16_224 --out found --heatmaps
  wsl-localize photos/ --weights resnet50 --cam layercam --layers layer3 layer4 --out found
  wsl-localize photos/ --weights net.pt --model package.module:build --out found
  wsl-localize photos/ --weights runs/gap --out found --top-k 3 --heatmaps
  wsl-localize "photos/**/*.jpg" --weights runs/gap --out found --classes dog cat --maps
  wsl-localize --data VOCdevkit/VOC2012 --split train --labels --weights runs/gap --out found
  wsl-localize photos/ --weights runs/gap --out found --resume
  wsl-localize photos/ --weights runs/gap --out found --engine local
  wsl-localize photos/ --weights runs/gap --out found --engine local --retry-failed
  wsl-localize scene.tif --weights runs/gap --out found --tile 512 --overlap 128 --bands 4 3 2
  wsl-localize photos/ --weights runs/gap --out found --engine array --shard 3/8
"""
EVALUATE = """Measure localizations, score maps, boxes, or a model, against annotations.

Examples:

  wsl-evaluate --predictions found --data VOCdevkit/VOC2012 --split val --out found
  wsl-evaluate --weights runs/gap --data VOCdevkit/VOC2012 --split val --select-threshold train --out runs/gap/val
  wsl-evaluate --weights runs/gap --data VOCdevkit/VOC2012 --split val --faithfulness 100 --out runs/gap/val
  wsl-evaluate --predictions scoremaps/ --data metadata/CUB --split test --protocol wsolevaluation --out cub --plots
  wsl-evaluate --predictions results.json --data coco --split val2017 --out theirs
  wsl-evaluate --predictions runs/detect/val/labels --data VOCdevkit/VOC2012 --split val --out yolo
"""
COMPARE = """Measure several runs on the same images, side by side, and say which differences are more than noise.

Examples:

  wsl-compare runs/gap runs/lse runs/weldon --data VOCdevkit/VOC2012 --split val --out runs/compared
  wsl-compare runs/gap found-layercam theirs/results.json --data VOCdevkit/VOC2012 --metrics pointing CorLoc AP50
  wsl-compare runs/gap runs/lse --data VOCdevkit/VOC2012 --select-threshold train --figure svg --out runs/compared
  wsl-compare runs/gap runs/lse --data photos/ --split all --agreement
"""
VISUALIZE = """Draw localizations: overlays, boxes, contact sheets.

Examples:

  wsl-visualize --predictions found --out found/pictures
  wsl-visualize --predictions found --data VOCdevkit/VOC2012 --split val --report --out found
  wsl-visualize --predictions found --data VOCdevkit/VOC2012 --split val --per-class --file-format pdf --out sheets
"""
EXPORT = """Hand boxes, masks or a model on to another tool.

Examples:

  wsl-export found --format coco --out annotations
  wsl-export found --format coco --out annotations --overwrite
  wsl-export found --format yolo --min-score 0.5 --copy-images --out dataset
  wsl-export found --format voc --copy-images --layout flat --out dataset
  wsl-export tasks.json --format voc --out corrected
  wsl-export found corrected.xml --format yolo --copy-images --out merged
  wsl-export found --threshold 0.35 --box-rule all --format coco --out annotations
  wsl-export found --reviewed reviewed.json --format yolo --copy-images --out dataset
  wsl-export found --format voc-masks --out masks
  wsl-export runs/gap --format onnx --out gap.onnx
"""
INFO = """Say what is here: versions, the device, poolings, backbones, formats.

With a model's name: how its maps are made. With --data: what is understood of a data set.

Examples:

  wsl-info
  wsl-info --json
  wsl-info timm/vit_small_patch16_224
  wsl-info vgg16 --cam gradcam --layers features.22
  wsl-info --data photos
"""
DOCTOR = """Follow one image from its file to its boxes, and say what looks wrong first.

Examples:

  wsl-doctor photo.jpg --weights resnet50
  wsl-doctor photo.jpg --weights runs/gap --label dog --out look
  wsl-doctor photo.jpg --weights runs/gap --refine none --threshold 0.5 --out look
"""
DEMO = """Open a web page on this machine to try models, maps and thresholds on images of one's own. Ctrl-C ends it.

Examples:

  wsl-demo
  wsl-demo runs/
  wsl-demo runs/gap runs/weldon resnet50 timm/vit_base_patch16_224
"""
LABEL_STUDIO = """Draw boxes ahead in Label Studio, as the machine-learning backend of a project. Ctrl-C ends it.

Examples:

  wsl-label-studio --weights runs/gap --image-root photos/
  wsl-label-studio --weights runs/gap --image-root photos/ --top-k None --score-threshold 0.5 --port 9091
"""
