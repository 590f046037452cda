# Serves a trained model on the CPU: a run directory or exports, mounted at /model.
#
#     docker build -t image-classifier .
#     docker run --rm -p 127.0.0.1:8501:8501 -v "$PWD/runs/pets:/model:ro" image-classifier

FROM python:3.11-slim

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /app

# What changes seldom comes first, so that a change of the code installs nothing anew.
COPY pyproject.toml constraints.txt README.md ./
RUN pip install --no-cache-dir -c constraints.txt '.[serve]'

COPY core core/
COPY datasets datasets/
COPY preprocessing preprocessing/
COPY nets nets/
COPY engine engine/
COPY inference inference/
COPY serve_image_classifier.py ./

RUN useradd --uid 10001 --no-create-home classifier
USER 10001

EXPOSE 8501
HEALTHCHECK --start-period=60s CMD ["python", "-c", \
  "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/healthz', timeout=5)"]
# The one process is given SIGTERM by `docker stop`, and answers what has come before it ends.
ENTRYPOINT ["python", "serve_image_classifier.py", "--checkpoint_path=/model", "--host=0.0.0.0"]
