"""Texts of `--help` for each command: one sentence, the most used flags, and examples; usage hints without flags."""

TRAIN = """Train a classifier with spatial pooling from image-level labels.

Most used:

  --data DATA        images in folders named after their classes, or another data set
  --out RUN          folder of the run, which the other commands take as --weights
  --backbone NAME    a network of torchvision, or timm/NAME
  --pooling NAME …   how class maps become scores; one run is trained for each
  --freeze-backbone  train a head on cached features: seconds instead of hours
  --epochs N         passes over the training images
  --image-size N     side of the network's input, in pixels
  --val-split NAME   what to validate on after each epoch; None for nothing
  --decode           also train a map decoder, for boxes of whole objects
  --resume           continue the run in --out, also for more --epochs

Examples:

  wsl-train --data VOCdevkit/VOC2012 --out runs/gap --backbone resnet50
  wsl-train --data VOCdevkit/VOC2012 --out runs/weldon --pooling "weldon(k_max=0.2, k_min=0.2)" --freeze-backbone
  wsl-train --data VOCdevkit/VOC2012 --out runs/heads --pooling gap gmp "kmax(k=0.2)" --freeze-backbone
  wsl-train --data VOCdevkit/VOC2012 --out runs/puzzle --loss "bce + puzzle(alpha=4)" --augment hide-and-seek cutmix
  wsl-train --data others/ --from runs/gap --out runs/others
  wsl-train --data photos/ --val-split None --out runs/mine --loss cross-entropy
  wsl-train --data VOCdevkit/VOC2012 --out runs/boxes --backbone resnet50 --freeze-backbone --decode
  wsl-train --data VOCdevkit/VOC2012 --out runs/fitted --backbone resnet50 --freeze-backbone --optimizer lbfgs --probe
  wsl-train --data VOCdevkit/VOC2012 --out runs/gap --backbone resnet50 --find-lr
  wsl-train --decoder runs/gap
  wsl-train --detector runs/boxes
  wsl-train --config runs/gap/config.json --pooling lse --out runs/lse
  wsl-train --out runs/gap --resume --epochs 40
"""
LOCALIZE = """Localize objects in images: class scores, boxes and heatmaps.

Most used:

  --weights MODEL      a run, or a classifier by name such as resnet50
  --out FOLDER         folder for the results
  --heatmaps           also write a picture with the heatmaps of each image
  --maps               keep the maps, for reports, masks and other thresholds
  --top-k N            the N classes with the highest scores; 1 by default
  --score-threshold P  leave out classes with a lower probability
  --classes NAME …     localize these classes, whatever their scores
  --threshold F        map threshold for boxes, as a fraction of the map's range
  --box-rule RULE      one box per class (largest), or several (all, nested)
  --cam METHOD         how maps are made: layercam, gradcam, legrad, …

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
EVALUATE = """Evaluate localizations, score maps, boxes or a model against annotations.

Most used:

  --predictions PLACE      results of wsl-localize, or predictions of another system
  --weights MODEL          instead: a run or a classifier, which localizes first
  --data DATA              the data set with the annotations
  --split NAME             the split to evaluate on; val by default
  --select-threshold NAME  choose threshold and box rule on this other split
  --metrics NAME …         these metrics only
  --plots                  also draw curves and examples
  --table latex            print a table for a paper
  --out FOLDER             folder for the report and the plots

Examples:

  wsl-evaluate --predictions found --data VOCdevkit/VOC2012 --split val --out found
  wsl-evaluate --weights runs/gap --data VOCdevkit/VOC2012 --split val --select-threshold train --out runs/gap/val
  wsl-evaluate --weights runs/gap --data VOCdevkit/VOC2012 --split val --faithfulness 100 --out runs/gap/val
  wsl-evaluate --predictions scoremaps/ --data metadata/CUB --split test --protocol wsolevaluation --out cub --plots
  wsl-evaluate --predictions results.json --data coco --split val2017 --out theirs
  wsl-evaluate --predictions runs/detect/val/labels --data VOCdevkit/VOC2012 --split val --out yolo
"""
COMPARE = """Evaluate several runs on the same images, and say which differences are more than noise.

Most used:

  --data DATA       the data set with the annotations
  --split NAME      the split to evaluate on; val by default
  --metrics NAME …  compare by these metrics
  --baseline RUN    the run with which the others are compared
  --out FOLDER      folder for the tables and the figure

Examples:

  wsl-compare runs/gap runs/lse runs/weldon --data VOCdevkit/VOC2012 --split val --out runs/compared
  wsl-compare runs/gap found-layercam theirs/results.json --data VOCdevkit/VOC2012 --metrics pointing CorLoc AP50
  wsl-compare runs/gap runs/lse --data VOCdevkit/VOC2012 --select-threshold train --figure svg --out runs/compared
  wsl-compare runs/gap runs/lse --data photos/ --split all --agreement
"""
VISUALIZE = """Draw localizations: overlays, boxes, contact sheets.

Most used:

  --predictions PLACE  results of wsl-localize
  --out FOLDER         folder for the pictures or the report
  --report             one HTML page with a threshold slider and marks, instead of pictures
  --against PLACE      with --report: results of a second run, shown beside the first
  --data DATA          annotations, to draw the ground-truth boxes too
  --per-class          a contact sheet for each class
  --limit N            the first N images only

Examples:

  wsl-visualize --predictions found --out found/pictures
  wsl-visualize --predictions found --data VOCdevkit/VOC2012 --split val --report --out found
  wsl-visualize --predictions gap/found --against lse/found --data VOCdevkit/VOC2012 --report --out compared
  wsl-visualize --predictions found --data VOCdevkit/VOC2012 --split val --per-class --file-format pdf --out sheets
"""
EXPORT = """Export boxes, masks or a model to the formats of other tools.

Most used:

  --format NAME    format to write: yolo, coco, voc, label-studio, cvat, …
  --out FOLDER     folder for the files
  --copy-images    also copy the images to where the format's tools expect them
  --min-score P    leave out boxes with a lower score
  --threshold F    redraw the boxes from stored maps
  --reviewed FILE  apply the marks made in a report
  --overwrite      replace an earlier export

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
INFO = """Show versions, the device, and the available poolings, backbones and formats.

With the name of a model, show how its maps are made. With --data, summarise a data set.

Examples:

  wsl-info
  wsl-info --json
  wsl-info timm/vit_small_patch16_224
  wsl-info vgg16 --cam gradcam --layers features.22
  wsl-info --data photos
"""
DOCTOR = """Follow one image from its file to its boxes, and report what looks wrong, the likeliest cause first.

Examples:

  wsl-doctor photo.jpg --weights resnet50
  wsl-doctor photo.jpg --weights runs/gap --label dog --out look
  wsl-doctor photo.jpg --weights runs/gap --refine none --threshold 0.5 --out look
"""
DEMO = """Open a web page on this machine to try models, maps and thresholds on your own images. Ctrl-C ends it.

Examples:

  wsl-demo
  wsl-demo runs/
  wsl-demo runs/gap runs/weldon resnet50 timm/vit_base_patch16_224
"""
LABEL_STUDIO = """Predict boxes in Label Studio, as the machine-learning backend of a project. Ctrl-C ends it.

Examples:

  wsl-label-studio --weights runs/gap --image-root .
  wsl-label-studio --weights runs/gap --image-root . --top-k None --score-threshold 0.5 --port 9091
"""

FIRST_TRAIN = """wsl-train needs images, in folders named after their classes, and a folder for the run:
  wsl-train --data photos/ --out runs/mine --freeze-backbone
Other data sets, more settings and examples: wsl-train --help"""
FIRST_LOCALIZE = """wsl-localize needs images, a model (a run, or a classifier by name) and a folder for the results:
  wsl-localize photos/ --weights resnet50 --heatmaps --out found
More settings and examples: wsl-localize --help"""
FIRST_EVALUATE = """wsl-evaluate needs predictions or a model, and the data set to evaluate them on:
  wsl-evaluate --weights runs/mine --data photos/ --split val --out runs/mine/val
Predictions of other systems, more settings and examples: wsl-evaluate --help"""
FIRST_COMPARE = """wsl-compare needs two or more runs or predictions, and the data set to evaluate them on:
  wsl-compare runs/gap runs/lse --data photos/ --split val --out compared
More settings and examples: wsl-compare --help"""
FIRST_VISUALIZE = """wsl-visualize needs the results of wsl-localize, and a folder for pictures or a report:
  wsl-visualize --predictions found --report --out found
More settings and examples: wsl-visualize --help"""
FIRST_EXPORT = """wsl-export needs the results of wsl-localize or files of another tool, a format, and a folder:
  wsl-export found --format yolo --copy-images --out dataset
Other formats, more settings and examples: wsl-export --help"""
FIRST_DOCTOR = """wsl-doctor needs an image, and the model that localizes it:
  wsl-doctor photo.jpg --weights resnet50
More settings and examples: wsl-doctor --help"""
FIRST_LABEL_STUDIO = """wsl-label-studio needs the model that predicts the boxes, and the folder of the images:
  wsl-label-studio --weights runs/mine --image-root .
More settings and examples: wsl-label-studio --help"""
